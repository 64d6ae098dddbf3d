//! Keys of a journal that an older build wrote, whose fingerprints included the sender: a retry still finds its answer.
//!
//! The fixture was written by the first build, and is never regenerated.

mod harness;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::{Counted, Received};
use invengine_ledger::{Command, Ledger, LedgerOptions, Payload, Reason};

use harness::answers::Reply;
use harness::commands::{allocate, by_key, release, reserve, stock};
use harness::{ROOMY, START_MS};

const PAYLOAD: &[u8] = include_bytes!("fixtures/keys-v1.bin");
const DIGEST: &str = "559a4ed97f072a5ea7879a82a115cd33";

fn folded() -> Ledger {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    ledger.fold(PAYLOAD, START_MS, 1).expect("the first format is read for ever");
    ledger
}

fn ask(ledger: &mut Ledger, command: &Command<'_>) -> Reply {
    let executed = ledger.execute(command, START_MS, &mut Payload::default(), ROOMY);
    Reply::new(ledger, &executed)
}

/// With the fields that the commands had in the first build.
fn with_all_fields(mut command: Command<'static>) -> Command<'static> {
    let context = &mut command.context;
    (context.issue_time_ms, context.event_time_ms) = (Some(START_MS - 1_234), Some(START_MS - 86_400_000));
    (context.order_ref, context.holder) = ("order-1", "ann");
    (context.actor, context.reason_code) = ("clerk-a", "gift");
    (context.reference, context.causation) = ("note-1", "message-1");
    command
}

fn asked() -> [Command<'static>; 5] {
    let mut numbered = stock("", Counted, "mug", "wh-1", 19);
    numbered.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence: 1 });
    [
        stock("receive", Received, "mug", "wh-1", 20),
        reserve("reserve", &[("mug", "wh-1", 2)]),
        allocate("allocate", by_key("reserve")),
        release("cancel", by_key("never-seen")),
        numbered,
    ]
    .map(with_all_fields)
}

#[test]
fn a_retry_of_a_key_that_an_older_build_journalled_finds_its_answer() {
    let mut ledger = folded();
    assert_eq!(ledger.digest().to_string(), DIGEST);
    for command in asked() {
        let sequence = ledger.sequence();
        let reply = ask(&mut ledger, &command);
        assert!(reply.replayed(), "{command:?}: {reply:?}");
        assert_eq!(ledger.sequence(), sequence);
    }
}

/// The older formula shows only that something differs, not what: it cannot show that only the sender differs. So the
/// command is refused, and never executed, until the key is forgotten.
#[test]
fn another_sender_of_such_a_key_is_refused_and_nothing_is_done_twice() {
    let mut ledger = folded();
    for mut command in asked().into_iter().filter(|command| !command.context.key.is_empty()) {
        command.context.actor = "clerk-b";
        let digest = ledger.digest();
        let reply = ask(&mut ledger, &command);
        assert_eq!(reply.reason(), Some(Reason::IdempotencyKeyReused), "{command:?}");
        assert_eq!(ledger.digest(), digest);
    }
}
