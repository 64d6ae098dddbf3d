//! Registrations of sources.

use invengine_ledger::Context;
use invengine_ledger::command::Body;
use invengine_wire::v1;

use super::answer::Accepted;
use super::check::Violations;
use super::command::{CommandRequest, shared_fields};

impl CommandRequest for v1::RegisterSourceRequest {
    type Answer = v1::RegisterSourceResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let rule = "absent: a source is not registered by one of its messages";
        found.require(context.source.is_none(), format_args!("context.source"), rule);
        found.name(&self.source_id, format_args!("source_id"));
        Body::RegisterSource { source: &self.source_id }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::RegisterSourceResponse {
        let [epoch, previous_epoch, previous_sequence] = accepted.registered().map(|number| number as i64);
        v1::RegisterSourceResponse {
            receipt: accepted.receipt(),
            epoch,
            previous_epoch,
            previous_sequence,
            look_alikes: accepted.look_alikes(),
        }
    }
}
