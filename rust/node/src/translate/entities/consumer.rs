//! Consumers of events: positions that their readers keep here.

use invengine_ledger::command::Body;
use invengine_ledger::entity::ConsumerDraft;
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::position::position;
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::{Draft, Entity, delete, entity_requests, get, list, upsert};
use crate::refusal::Refusal;

entity_requests! {
    METHODS of "JournalService": Consumer [versions];
    upsert UpsertConsumersRequest -> UpsertConsumersResponse;
    get GetConsumerRequest { consumer } -> GetConsumerResponse { consumer } of SMALL_ANSWER_BYTES_MAX;
    list ListConsumersRequest -> ListConsumersResponse { consumers };
    delete DeleteConsumersRequest { consumers } -> DeleteConsumersResponse;
}

impl Entity for v1::Consumer {
    const KIND: EntityKind = EntityKind::Consumers;

    fn name(&self) -> &str {
        &self.consumer
    }

    fn expected_version(&self) -> Option<i64> {
        self.version
    }

    fn of(_: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self {
        let EntityValue::Consumer(consumer) = value else { return Self::default() };
        let position = v1::JournalPosition {
            ledger: consumer.ledger.to_string(),
            writer_epoch: consumer.writer_epoch as i64,
            sequence: consumer.sequence as i64,
        };
        v1::Consumer { consumer: name.to_owned(), position: Some(position), version: Some(version as i64) }
    }
}

impl Draft for v1::Consumer {
    fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
        let rule = "the position of the last event that the consumer has handled; sequence 0 before the first";
        let path = format!("{path}.position");
        found.require(self.position.is_some(), format_args!("{path}"), rule);
        let stored = self.position.as_ref().map(|asked| (&*asked.ledger, position(asked, &path, found)));
        let (ledger, at) = stored.unwrap_or_default();
        EntityDraft::Consumer(ConsumerDraft { ledger, writer_epoch: at.writer_epoch, sequence: at.sequence })
    }
}
