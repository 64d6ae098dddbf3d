//! What the histories reach: a label for each kind of command and outcome, and the labels that they must reach.

use invengine_ledger::{Command, Reason};

use crate::harness::answers::{Outcome, Reply};

/// A label for a kind of command and a kind of outcome.
pub fn label(command: &Command<'_>, reply: &Reply, written: bool, is_stale: bool) -> String {
    let numbered = if command.context.source.is_some() { " numbered" } else { "" };
    let outcome = match reply {
        Reply::Accepted { replayed: true, .. } => "replayed".to_owned(),
        Reply::Accepted { outcome: Outcome::Holds(holds), .. } if holds.iter().any(|hold| hold.reacquired) => {
            "reacquired".to_owned()
        }
        Reply::Accepted { outcome: Outcome::KeyCancelled, .. } => "key cancelled".to_owned(),
        Reply::Accepted { outcome: Outcome::Claimed(..), .. } if is_stale => "stale".to_owned(),
        Reply::Accepted { outcome: Outcome::Claimed(levels, lines), .. } if levels.len() > lines.len() => {
            "partly claimed".to_owned()
        }
        Reply::Accepted { outcome: Outcome::Claimed(..), .. } => "claimed".to_owned(),
        Reply::Accepted { outcome: Outcome::Echo, .. } => "echo".to_owned(),
        Reply::Accepted { .. } => "accepted".to_owned(),
        Reply::Rejected(refusal) if command.context.remember_refusal && refusal.reason != Reason::KeyCancelled => {
            format!("{} {}", refusal.reason.name(), if written { "remembered" } else { "again" })
        }
        Reply::Rejected(refusal) if refusal.reason == Reason::NotAuthoritative => {
            let fact = refusal.facts.iter().find(|(name, _)| *name == "right");
            format!("NOT_AUTHORITATIVE {}", fact.map_or("channel", |fact| fact.1.as_str()))
        }
        Reply::Rejected(refusal) => refusal.reason.name().to_owned(),
    };
    format!("{}{numbered}: {outcome}", command.body.name())
}

/// The labels that the histories must reach.
pub fn wanted_labels() -> Vec<String> {
    const HOLDS: [&str; 6] = ["Extend", "Amend", "Allocate", "Release", "Fulfill", "TransferReservation"];
    const STOCK: [&str; 6] = ["Receive", "Return", "Adjust", "SetQuantity", "Count", "MoveQuantity"];
    const OTHERS: [&str; 13] = [
        "Reserve",
        "RegisterSource",
        "UpsertItems",
        "UpsertLocations",
        "UpsertChannels",
        "UpsertLocationGroups",
        "DeleteItems",
        "DeleteLocations",
        "DeleteLocationGroups",
        "DeleteStockTransfers",
        "ShipTransfer",
        "ReceiveTransfer",
        "CloseTransfer",
    ];
    const OF_KEYS: [&str; 4] = ["accepted", "replayed", "IDEMPOTENCY_KEY_REUSED", "DEDUPE_WINDOW_EXPIRED"];
    const OF_HOLDS: [&str; 5] =
        ["ALREADY_RELEASED", "ALREADY_FULFILLED", "RESERVATION_NOT_FOUND", "STALE_VERSION", "UNKNOWN_CHANNEL"];
    const OF_NUMBERS: [&str; 5] = ["replayed", "SEQUENCE_GAP", "SEQUENCE_CONFLICT", "STALE_EPOCH", "ALREADY_RELEASED"];
    let mut labels = Vec::new();
    let mut want = |commands: &[&str], outcomes: &[&str]| {
        for command in commands {
            labels.extend(outcomes.iter().map(|outcome| format!("{command}: {outcome}")));
        }
    };
    want(&HOLDS, &OF_KEYS);
    want(&STOCK, &OF_KEYS);
    want(&OTHERS, &OF_KEYS);
    want(&["DeleteItems", "DeleteLocations", "DeleteChannels"], &["ENTITY_IN_USE"]);
    want(&["UpsertLocationGroups", "DeleteLocationGroups", "DeleteItems"], &["STALE_VERSION"]);
    want(&["UpsertLocationGroups"], &["UNKNOWN_LOCATION"]);
    want(&["ShipTransfer"], &["INSUFFICIENT_STOCK", "UNKNOWN_SKU", "UNKNOWN_LOCATION"]);
    want(&["ShipTransfer", "ReceiveTransfer", "CloseTransfer"], &["TRANSFER_STATE"]);
    want(&["ReceiveTransfer", "CloseTransfer", "DeleteStockTransfers"], &["ENTITY_NOT_FOUND", "STALE_VERSION"]);
    want(&["DeleteStockTransfers"], &["ENTITY_IN_USE"]);
    want(&["DeleteLocationGroups"], &["UNKNOWN_GROUP"]);
    want(&HOLDS, &OF_HOLDS);
    want(&HOLDS.map(|command| format!("{command} numbered")).each_ref().map(String::as_str), &OF_NUMBERS);
    want(&["Extend", "Amend", "Allocate"], &["ALREADY_ALLOCATED"]);
    want(&["Extend", "Amend", "Release", "Fulfill", "TransferReservation"], &["RESERVATION_EXPIRED"]);
    want(&["Allocate", "Release", "Fulfill", "TransferReservation"], &["EXCEEDS_OUTSTANDING"]);
    want(
        &["Reserve", "Amend", "Allocate", "Fulfill", "TransferReservation", "Adjust", "MoveQuantity"],
        &["INSUFFICIENT_STOCK"],
    );
    want(&["Reserve", "Receive"], &["UNKNOWN_SKU", "UNKNOWN_LOCATION"]);
    want(&["SetQuantity", "Count"], &["QUANTITY_STALE"]);
    want(&["Reserve numbered"], &["accepted", "INSUFFICIENT_STOCK", "UNKNOWN_SOURCE", "UNKNOWN_CHANNEL"]);
    want(&["Reserve"], &["KEY_CANCELLED"]);
    want(&["Release", "Release numbered"], &["key cancelled"]);
    want(&["Allocate", "Allocate numbered"], &["reacquired"]);
    want(&["Receive"], &["INVALID_FIELD"]);
    const REMEMBERED: [&str; 4] = [
        "INSUFFICIENT_STOCK remembered",
        "INSUFFICIENT_STOCK again",
        "UNKNOWN_SKU remembered",
        "IDEMPOTENCY_KEY_REUSED again",
    ];
    want(&["Reserve"], &REMEMBERED);
    want(&["Reserve numbered"], &["INSUFFICIENT_STOCK remembered"]);
    let promise = ["Reserve", "Extend", "Amend", "Allocate", "Release", "TransferReservation"];
    want(&promise, &["NOT_AUTHORITATIVE PROMISE", "echo"]);
    let report = ["Receive", "Return", "Fulfill", "ShipTransfer", "ReceiveTransfer", "CloseTransfer"];
    want(&report, &["NOT_AUTHORITATIVE REPORT", "echo"]);
    want(&["Adjust", "MoveQuantity"], &["NOT_AUTHORITATIVE ADJUST", "echo"]);
    want(&["Reserve numbered"], &["NOT_AUTHORITATIVE PROMISE", "NOT_AUTHORITATIVE channel", "echo"]);
    const CLAIMED: [&str; 4] = ["claimed", "partly claimed", "echo", "OVERLOADED"];
    want(&["SetQuantity", "Count", "SetQuantity numbered", "Count numbered"], &CLAIMED);
    want(&["Count", "Count numbered"], &["stale"]);
    want(&["Reserve"], &["UNKNOWN_SOURCE", "INVALID_FIELD"]);
    const OF_ENTITIES: [&str; 3] = ["accepted", "replayed", "STALE_VERSION"];
    const RULES: [&str; 4] =
        ["UpsertAuthorityRules", "UpsertSourceProfiles", "DeleteAuthorityRules", "DeleteSourceProfiles"];
    want(&RULES, &OF_ENTITIES);
    want(&["UpsertAuthorityRules"], &["RULE_CONFLICT", "UNKNOWN_SOURCE", "UNKNOWN_LOCATION"]);
    want(&["UpsertSourceProfiles"], &["UNKNOWN_CHANNEL", "UNKNOWN_LOCATION"]);
    want(&["DeleteAuthorityRules", "DeleteSourceProfiles"], &["ENTITY_NOT_FOUND"]);
    want(&["Allocate", "Release", "Fulfill"], &["RESERVATION_NOT_FOUND remembered", "RESERVATION_NOT_FOUND again"]);
    labels
}
