//! Both ways of reading a batch and of writing its answer agree: the commands, the refusals, the bytes of the answer and the
//! ledger are the same, whether a command is plain or prost decodes it.

mod edits;
mod requests;

use invengine_ledger::{Answer, Command};
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use proptest::prelude::*;
use prost::Message;

use super::answer::{accepted_outcome, refused_outcome, scope_names};
use super::batch::{CommandOrRefusal, command_of_batch, with_submit};
use super::outcomes::Outcomes;
use super::plain;
use super::tests::Harness;
use crate::refusal::Refusal;
use crate::sizes::SUBMIT_COMMANDS_MAX;

/// As `with_submit`, by prost alone.
fn with_prost(payload: &[u8], tag: u64, f: &mut dyn FnMut(&[CommandOrRefusal<'_>])) -> Result<(), Refusal> {
    let batch = v1::SubmitRequest::decode(payload).map_err(|_| Refusal::malformed())?;
    if !(1..=SUBMIT_COMMANDS_MAX).contains(&batch.commands.len()) {
        return Err(Refusal::invalid(vec![("commands".into(), "1 to 1,000 of them".into())]));
    }
    batch.commands.iter().for_each(|asked| f(&[command_of_batch(asked, tag)]));
    Ok(())
}

type Read = dyn Fn(&[u8], u64, &mut dyn FnMut(&[CommandOrRefusal<'_>])) -> Result<(), Refusal>;

/// The commands of a batch as texts.
fn commands(read: &Read, payload: &[u8], tag: u64) -> Result<Vec<Result<String, Refusal>>, Refusal> {
    let mut found = Vec::new();
    let text = |command: &CommandOrRefusal<'_>| command.as_ref().map(|it| format!("{it:?}")).map_err(Clone::clone);
    read(payload, tag, &mut |commands| found.extend(commands.iter().map(text)))?;
    Ok(found)
}

/// The answer to a batch, and the digest of the ledger after it.
fn answered(payload: &[u8]) -> (Result<Vec<u8>, Refusal>, String) {
    let mut harness = Harness::new();
    let tag = harness.ledger.tag();
    let mut outcomes = Outcomes::default();
    let done = with_submit(payload, tag, &mut |commands| {
        for command in commands {
            match command {
                Ok(command) => {
                    let executed = harness.run(command);
                    outcomes.push(&harness.ledger, &executed, &command.context);
                }
                Err(refusal) => outcomes.push_refused(refusal),
            }
        }
    });
    (done.map(|()| outcomes.into_response(7)), harness.ledger.digest().to_string())
}

/// The same by prost alone.
fn answered_by_prost(payload: &[u8]) -> (Result<Vec<u8>, Refusal>, String) {
    let mut harness = Harness::new();
    let tag = harness.ledger.tag();
    let mut outcomes = Vec::new();
    let done = with_prost(payload, tag, &mut |commands| {
        outcomes.extend(commands.iter().map(|command| match command {
            Ok(command) => outcome(&mut harness, command),
            Err(refusal) => refused_outcome(refusal),
        }));
    });
    let answer = done.map(|()| v1::SubmitResponse { outcomes, durable_sequence: 7 }.encode_to_vec());
    (answer, harness.ledger.digest().to_string())
}

fn outcome(harness: &mut Harness, command: &Command<'_>) -> v1::Outcome {
    match harness.run(command).answer {
        Answer::Deferred { .. } | Answer::Buried { .. } => unreachable!("a command is not deferred"),
        Answer::Rejected(rejection) => refused_outcome(&(&rejection).into()),
        Answer::Accepted { sequence, replayed, effect } => {
            let effect = harness.ledger.effect(effect);
            accepted_outcome(&harness.ledger, (sequence, replayed), effect, scope_names(&command.context))
        }
    }
}

/// Panics unless both ways agree on these bytes.
fn compare(payload: &[u8]) {
    let tag = Harness::new().ledger.tag();
    assert_eq!(commands(&with_submit, payload, tag), commands(&with_prost, payload, tag), "{payload:02x?}");
    assert_eq!(answered(payload), answered_by_prost(payload), "{payload:02x?}");
}

/// True if a valid command is one that needs no prost.
fn may_be_plain(command: &v1::Command) -> bool {
    let whole = |target: &Option<v1::HoldTarget>| target.as_ref().is_some_and(|target| target.lines.is_empty());
    let (context, plain) = match &command.command {
        Some(Asked::Reserve(asked)) => (&asked.context, true),
        Some(Asked::Allocate(asked)) => (&asked.context, whole(&asked.target)),
        Some(Asked::Release(asked)) => (&asked.context, whole(&asked.target)),
        _ => return false,
    };
    plain && context.as_ref().is_none_or(|context| context.origin.is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn requests_are_read_and_answered_alike(batch in requests::batch()) {
        compare(&batch.encode_to_vec());
        let tag = Harness::new().ledger.tag();
        for command in &batch.commands {
            let bytes = command.encode_to_vec();
            let expected = may_be_plain(command) && command_of_batch(command, tag).is_ok();
            prop_assert_eq!(plain::command(&bytes, tag).is_some(), expected, "{:?}", command);
        }
    }

    #[test]
    fn edited_requests_are_read_and_answered_alike(
        batch in requests::batch(),
        choices in prop::collection::vec(any::<u8>(), 1..48),
    ) {
        compare(&edits::edited(&batch.encode_to_vec(), &choices));
    }
}

#[test]
fn a_request_is_read_alike_wherever_it_is_cut_or_a_bit_flips() {
    let bytes = requests::example().encode_to_vec();
    for end in 0..=bytes.len() {
        compare(&bytes[..end]);
    }
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        compare(&bytes);
    }
}

#[test]
fn a_batch_may_have_as_many_commands_as_before() {
    let bytes = requests::example().commands[0].encode_to_vec();
    let command = [&[0x0a, bytes.len() as u8], &*bytes].concat();
    for count in [SUBMIT_COMMANDS_MAX, SUBMIT_COMMANDS_MAX + 1] {
        let mut payload = command.repeat(count);
        compare(&payload);
        payload.push(0x0a);
        compare(&payload);
    }
}
