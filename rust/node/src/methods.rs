//! Every method of `invengine.v1`: how it is answered, by which part, and how long its request and its answer may be.
//!
//! No answer is longer than [`ANSWER_BYTES_MAX`], which every gRPC client accepts by default: a command whose answer
//! could be longer is refused before it is executed, lists come in pages, and long answers have a short form.

use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;

use crate::sizes::SMALL_ANSWER_BYTES_MAX;
pub use crate::sizes::{
    ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, PAGE_BYTES_MAX, SUBMIT_BYTES_MAX,
    SUBMIT_COMMANDS_MAX,
};
use crate::translate::command::{CommandMethod, CommandRequest, InBatch, command};
use crate::translate::entities;
use crate::translate::read::{ReadMethod, ReadRequest};

/// Path of the stream of events.
pub const READ_EVENTS: &str = "/invengine.v1.JournalService/ReadEvents";

/// Path of the method that executes a batch of commands.
pub const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";
/// Path of the method that records messages of sources.
pub const RECORD_MESSAGES: &str = "/invengine.v1.InventoryService/RecordMessages";

const PACKAGE: &str = "/invengine.v1.";

/// How a method is answered.
#[derive(Clone, Copy)]
pub enum MethodKind {
    /// By executing one command.
    Command(CommandMethod),
    /// By reading the ledger.
    Read(ReadMethod),
    /// By executing a batch.
    Submit,
    /// By executing batches as they arrive, each as the method of this path does.
    BatchStream(&'static str),
    /// By recording messages of sources.
    RecordMessages,
    /// By executing dead letters again.
    Redrive,
    /// By a stream of events.
    ReadEvents,
    /// By the ledger's digest.
    Digest,
    /// By the server's description.
    ServerInfo,
    /// By writing a snapshot.
    CreateSnapshot,
    /// By folding the journal up to a moment of the past.
    StateAt,
    /// By searching the journal for what changed a level.
    InventoryHistory,
    /// Not available in this version.
    Unimplemented,
}

/// One method.
#[derive(Clone, Copy)]
pub struct Method {
    /// Its path, such as `/invengine.v1.ReservationService/Reserve`.
    pub path: &'static str,
    /// How it is answered.
    pub kind: MethodKind,
    /// Longest request, in bytes.
    pub bytes_max: usize,
    /// Longest answer, or message of a stream of answers, in bytes; 0 for a method that is not available in this
    /// version.
    pub answer_bytes_max: usize,
}

impl Method {
    /// The method of a command.
    pub(crate) const fn command<M: CommandRequest>(request_path: &'static str) -> Self {
        let (path, kind) = (path_of(request_path), MethodKind::Command(CommandMethod::of::<M>()));
        Method { path, kind, bytes_max: COMMAND_BYTES_MAX, answer_bytes_max: COMMAND_ANSWER_BYTES_MAX }
    }

    /// The method of a question, with the longest answer.
    pub(crate) const fn read<M: ReadRequest>(request_path: &'static str, answer_bytes_max: usize) -> Self {
        let (path, kind) = (path_of(request_path), MethodKind::Read(ReadMethod::of::<M>()));
        Method { path, kind, bytes_max: COMMAND_BYTES_MAX, answer_bytes_max }
    }

    /// With these sizes of the longest request and answer.
    pub(crate) const fn with_sizes(self, bytes_max: usize, answer_bytes_max: usize) -> Self {
        Method { bytes_max, answer_bytes_max, ..self }
    }

    const fn in_batch(self, in_batch: InBatch) -> Self {
        match self.kind {
            MethodKind::Command(method) => Method { kind: MethodKind::Command(method.in_batch(in_batch)), ..self },
            _ => self,
        }
    }

    /// True for a unary method that itself reads or writes a disk, which takes longer than other calls may.
    pub fn waits(&self) -> bool {
        matches!(self.kind, MethodKind::CreateSnapshot | MethodKind::StateAt | MethodKind::InventoryHistory)
    }

    /// True if the native door answers it itself; all others are forwarded.
    pub fn native(&self) -> bool {
        let service = self.path.strip_prefix(PACKAGE).and_then(|path| path.split('/').next());
        matches!(service, Some("ReservationService" | "AvailabilityService" | "InventoryService" | "JournalService"))
    }
}

/// True for a method that changes nothing: an answer that got lost can simply be asked for again. Methods outside the contract
/// (health, reflection) are reads.
pub fn is_read(path: &str) -> bool {
    match find(path) {
        Some(method) => {
            use MethodKind::{Digest, InventoryHistory, Read, ReadEvents, ServerInfo, StateAt};
            matches!(method.kind, Read(_) | ReadEvents | Digest | ServerInfo | StateAt | InventoryHistory)
        }
        None => !path.starts_with(PACKAGE),
    }
}

/// The path of a method of the contract and the suffix of its request's name: `…/ReserveRequest`.
macro_rules! request_path {
    ($service:literal, $request:ident) => {
        concat!("/invengine.v1.", $service, "/", stringify!($request))
    };
}

pub(crate) use request_path;

/// The path of the method that a request belongs to.
const fn path_of(request_path: &'static str) -> &'static str {
    request_path.split_at(request_path.len() - "Request".len()).0
}

macro_rules! method {
    ($service:literal, $name:literal, $kind:expr, $bytes_max:expr, $answer_bytes_max:expr) => {
        Method {
            path: concat!("/invengine.v1.", $service, "/", $name),
            kind: $kind,
            bytes_max: $bytes_max,
            answer_bytes_max: $answer_bytes_max,
        }
    };
    // What most have: a command, which batches may have too, a read, and what is not available yet.
    ($service:literal, command $request:ident, batch $variant:ident) => {
        Method::command::<v1::$request>(request_path!($service, $request)).in_batch(|asked, tag| {
            if let Asked::$variant(asked) = asked { Some(command(asked, "", tag)) } else { None }
        })
    };
    ($service:literal, command $request:ident) => {
        Method::command::<v1::$request>(request_path!($service, $request))
    };
    ($service:literal, read $request:ident, $answer_bytes_max:expr) => {
        Method::read::<v1::$request>(request_path!($service, $request), $answer_bytes_max)
    };
    ($service:literal, $name:literal, later) => {
        method!($service, $name, MethodKind::Unimplemented, COMMAND_BYTES_MAX, 0)
    };
}

/// All methods. The most frequent ones come first, because `find` searches in this order.
pub static METHODS: [Method; PLAIN.len() + count(entities::METHODS)] = joined(&PLAIN, entities::METHODS);

/// Those that are not about entities.
const PLAIN: [Method; 44] = [
    method!("ReservationService", command ReserveRequest, batch Reserve),
    method!("ReservationService", command AllocateRequest, batch Allocate),
    method!("ReservationService", "Submit", MethodKind::Submit, SUBMIT_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("ReservationService", "SubmitStream", MethodKind::BatchStream(SUBMIT), SUBMIT_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("AvailabilityService", read GetAvailabilityRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", command ReleaseRequest, batch Release),
    method!("ReservationService", command FulfillRequest, batch Fulfill),
    method!("ReservationService", command ExtendRequest, batch Extend),
    method!("ReservationService", command AmendRequest, batch Amend),
    method!("ReservationService", command TransferReservationRequest, batch TransferReservation),
    method!("ReservationService", read GetReservationRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", read ListReservationsRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", read GetOutcomeRequest, ANSWER_BYTES_MAX),
    method!("InventoryService", command ReceiveRequest),
    method!("InventoryService", command ReturnRequest),
    method!("InventoryService", command AdjustRequest),
    method!("InventoryService", command SetQuantityRequest),
    method!("InventoryService", command CountRequest),
    method!("InventoryService", read GetInventoryLevelRequest, SMALL_ANSWER_BYTES_MAX),
    method!("InventoryService", read ListInventoryLevelsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("InventoryService", command MoveQuantityRequest),
    method!("InventoryService", command ShipTransferRequest),
    method!("InventoryService", command ReceiveTransferRequest),
    method!("InventoryService", command CloseTransferRequest),
    method!("InventoryService", "RecordMessages", MethodKind::RecordMessages, SUBMIT_BYTES_MAX, ANSWER_BYTES_MAX),
    method!(
        "InventoryService",
        "RecordMessageStream",
        MethodKind::BatchStream(RECORD_MESSAGES),
        SUBMIT_BYTES_MAX,
        ANSWER_BYTES_MAX
    ),
    method!("AvailabilityService", "GetAvailableToPromise", later),
    method!("AvailabilityService", "WatchAvailability", later),
    method!("JournalService", "ReadEvents", MethodKind::ReadEvents, COMMAND_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("JournalService", "GetDigest", MethodKind::Digest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("JournalService", "GetStateAt", MethodKind::StateAt, COMMAND_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX),
    method!(
        "JournalService",
        "ListInventoryHistory",
        MethodKind::InventoryHistory,
        COMMAND_BYTES_MAX,
        COMMAND_ANSWER_BYTES_MAX
    ),
    method!("SourceService", command RegisterSourceRequest).with_sizes(COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("SourceService", read ListSourcesRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", read ListClaimsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("PolicyService", read ListOwnersRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", read ListParkedRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", read ListWaitingRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", read ListDeadLettersRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", command SkipGapRequest).with_sizes(COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("SourceService", "RedriveDeadLetters", MethodKind::Redrive, COMMAND_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("SourceService", command DiscardDeadLettersRequest).with_sizes(COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("AdminService", "GetServerInfo", MethodKind::ServerInfo, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("AdminService", "CreateSnapshot", MethodKind::CreateSnapshot, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
];

const fn count(lists: &[&[Method]]) -> usize {
    let (mut all, mut list) = (0, 0);
    while list < lists.len() {
        all += lists[list].len();
        list += 1;
    }
    all
}

/// The first methods, then the others.
const fn joined<const N: usize>(first: &[Method], others: &[&[Method]]) -> [Method; N] {
    let mut all = [first[0]; N];
    let (mut at, mut list, mut next) = (0, 0, 0);
    while at < N {
        if at < first.len() {
            all[at] = first[at];
            at += 1;
        } else if next < others[list].len() {
            all[at] = others[list][next];
            (at, next) = (at + 1, next + 1);
        } else {
            (list, next) = (list + 1, 0);
        }
    }
    all
}

/// The method with this path; `None` if there is none.
pub fn find(path: &str) -> Option<Method> {
    METHODS.iter().find(|method| method.path == path).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The paths that the contract declares.
    fn declared() -> BTreeSet<String> {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos/invengine/v1");
        let mut paths = BTreeSet::new();
        for entry in fs::read_dir(protos).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut service = "";
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.split_whitespace().next().unwrap();
                }
                if let Some(rest) = line.strip_prefix("  rpc ") {
                    paths.insert(format!("{PACKAGE}{service}/{}", rest.split('(').next().unwrap()));
                }
            }
        }
        paths
    }

    #[test]
    fn the_table_has_what_the_contract_declares() {
        let table: BTreeSet<String> = METHODS.iter().map(|method| method.path.to_owned()).collect();
        assert_eq!(table.len(), METHODS.len(), "a method is listed twice");
        assert_eq!(table, declared());
    }

    #[test]
    fn unimplemented_methods_are_those_that_the_contract_names() {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos/invengine/v1");
        for method in &METHODS {
            let (service, name) = method.path.strip_prefix(PACKAGE).unwrap().split_once('/').unwrap();
            let stem = service.strip_suffix("Service").unwrap().to_lowercase();
            let text = fs::read_to_string(protos.join(format!("{stem}_service.proto"))).unwrap();
            let before = text.split(&format!("  rpc {name}(")).next().unwrap();
            let remark: String = before.lines().rev().take_while(|line| line.starts_with("  //")).collect();
            let later = remark.contains("UNIMPLEMENTED");
            assert_eq!(matches!(method.kind, MethodKind::Unimplemented), later, "{}", method.path);
        }
    }

    #[test]
    fn the_contract_states_the_longest_answer_of_every_method() {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos/invengine/v1");
        for method in METHODS.iter().filter(|method| !matches!(method.kind, MethodKind::Unimplemented)) {
            let (service, name) = method.path.strip_prefix(PACKAGE).unwrap().split_once('/').unwrap();
            let stem = service.strip_suffix("Service").unwrap().to_lowercase();
            let text = fs::read_to_string(protos.join(format!("{stem}_service.proto"))).unwrap();
            let before = text.split(&format!("  rpc {name}(")).next().unwrap();
            let last = before.lines().next_back().unwrap();
            let limit = match method.answer_bytes_max {
                bytes if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
                bytes => format!("{} MiB", bytes >> 20),
            };
            assert!(last.ends_with(&format!("at most {limit}.")), "{}: {last}", method.path);
            assert!((1..=ANSWER_BYTES_MAX).contains(&method.answer_bytes_max), "{}", method.path);
        }
    }

    #[test]
    fn a_path_is_found_only_as_it_is_spelled() {
        assert!(METHODS.iter().all(|method| find(method.path).is_some_and(|found| found.path == method.path)));
        let others = ["", "/", "/invengine.v1.ReservationService/Sell", "/invengine.v1.ReservationService/Reserve/"];
        assert!(others.iter().all(|path| find(path).is_none()));
    }

    #[test]
    fn the_door_answers_four_services_itself() {
        let native: BTreeSet<&str> = METHODS
            .iter()
            .filter(|method| method.native())
            .map(|method| method.path.split('/').nth(1).unwrap())
            .collect();
        let expected = ["AvailabilityService", "InventoryService", "JournalService", "ReservationService"]
            .map(|service| format!("invengine.v1.{service}"));
        assert_eq!(native, expected.iter().map(String::as_str).collect());
    }

    #[test]
    fn batches_may_be_longer_than_commands() {
        assert_eq!(find("/invengine.v1.ReservationService/Submit").unwrap().bytes_max, SUBMIT_BYTES_MAX);
        assert_eq!(find("/invengine.v1.ReservationService/Reserve").unwrap().bytes_max, COMMAND_BYTES_MAX);
    }
}
