//! Every method of `invengine.v1`: how it is answered, by which part, and how long its request and its answer may be.
//!
//! No answer is longer than [`ANSWER_BYTES_MAX`], which every gRPC client accepts by default: a command whose answer
//! could be longer is refused before it is executed, lists come in pages, and long answers have a short form.

pub use invengine_ledger::ANSWER_BYTES_MAX as COMMAND_ANSWER_BYTES_MAX;

/// Most bytes of one command or read request.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a message that carries many commands or many names.
pub const SUBMIT_BYTES_MAX: usize = 4 << 20;
/// Most commands of one batch.
pub const SUBMIT_COMMANDS_MAX: usize = 1_000;

/// Most bytes of any answer, and of each message of a stream of answers.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most bytes of an answer that has only a few names and numbers.
const SMALL_ANSWER_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a page of a list, or of a message of events, that has more than one entry.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Path of the only unary method whose caller waits for the disk.
pub const CREATE_SNAPSHOT: &str = "/invengine.v1.AdminService/CreateSnapshot";
/// Path of the stream of events.
pub const READ_EVENTS: &str = "/invengine.v1.JournalService/ReadEvents";

const PACKAGE: &str = "/invengine.v1.";

/// A command: it may change the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the methods")]
pub enum CommandKind {
    Reserve,
    Extend,
    Amend,
    Allocate,
    Release,
    Fulfill,
    Transfer,
    Receive,
    Return,
    Adjust,
    SetQuantity,
    Count,
    UpsertItems,
    UpsertLocations,
    UpsertChannels,
    RegisterSource,
}

/// A read that the ledger answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the methods")]
pub enum ReadKind {
    GetReservation,
    ListReservations,
    GetOutcome,
    GetAvailability,
    GetInventoryLevel,
    ListInventoryLevels,
    GetItem,
    ListItems,
    GetLocation,
    ListLocations,
    GetChannel,
    ListChannels,
}

/// How a method is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// By executing one command.
    Command(CommandKind),
    /// By reading the ledger.
    Read(ReadKind),
    /// By executing a batch.
    Submit,
    /// By executing batches as they arrive.
    SubmitStream,
    /// By a stream of events.
    ReadEvents,
    /// By the ledger's digest.
    Digest,
    /// By the server's description.
    ServerInfo,
    /// By writing a snapshot, which takes longer than other calls may.
    CreateSnapshot,
    /// Not available in this version.
    Unimplemented,
}

/// One method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// True if the native door answers it itself; all others are forwarded.
    pub fn native(&self) -> bool {
        let service = self.path.strip_prefix(PACKAGE).and_then(|path| path.split('/').next());
        matches!(service, Some("ReservationService" | "AvailabilityService" | "InventoryService" | "JournalService"))
    }
}

const fn answer_bytes_max(kind: MethodKind) -> usize {
    use CommandKind::RegisterSource;
    use ReadKind::{GetAvailability, GetOutcome, GetReservation, ListReservations};
    use ReadKind::{GetChannel, GetInventoryLevel, GetItem, GetLocation};
    use ReadKind::{ListChannels, ListInventoryLevels, ListItems, ListLocations};
    match kind {
        MethodKind::Command(RegisterSource)
        | MethodKind::Read(GetInventoryLevel | GetItem | GetLocation | GetChannel)
        | MethodKind::Digest
        | MethodKind::ServerInfo
        | MethodKind::CreateSnapshot => SMALL_ANSWER_BYTES_MAX,
        MethodKind::Command(_) | MethodKind::Read(ListInventoryLevels | ListItems | ListLocations | ListChannels) => {
            COMMAND_ANSWER_BYTES_MAX
        }
        MethodKind::Submit | MethodKind::SubmitStream | MethodKind::ReadEvents => ANSWER_BYTES_MAX,
        MethodKind::Read(GetAvailability | GetOutcome | GetReservation | ListReservations) => ANSWER_BYTES_MAX,
        MethodKind::Unimplemented => 0,
    }
}

macro_rules! method {
    ($service:literal, $name:literal, $kind:expr) => {
        method!($service, $name, $kind, COMMAND_BYTES_MAX)
    };
    ($service:literal, $name:literal, $kind:expr, $bytes_max:expr) => {
        Method {
            path: concat!("/invengine.v1.", $service, "/", $name),
            kind: $kind,
            bytes_max: $bytes_max,
            answer_bytes_max: answer_bytes_max($kind),
        }
    };
}

/// All methods. The most frequent ones come first, because `find` searches in this order.
pub static METHODS: [Method; 62] = {
    use CommandKind as C;
    use MethodKind::{Command, Digest, Read, ReadEvents, ServerInfo, Submit, SubmitStream, Unimplemented};
    use ReadKind as R;
    const BATCH: usize = SUBMIT_BYTES_MAX;
    [
        method!("ReservationService", "Reserve", Command(C::Reserve)),
        method!("ReservationService", "Allocate", Command(C::Allocate)),
        method!("ReservationService", "Submit", Submit, BATCH),
        method!("ReservationService", "SubmitStream", SubmitStream, BATCH),
        method!("AvailabilityService", "GetAvailability", Read(R::GetAvailability)),
        method!("ReservationService", "Release", Command(C::Release)),
        method!("ReservationService", "Fulfill", Command(C::Fulfill)),
        method!("ReservationService", "Extend", Command(C::Extend)),
        method!("ReservationService", "Amend", Command(C::Amend)),
        method!("ReservationService", "TransferReservation", Command(C::Transfer)),
        method!("ReservationService", "GetReservation", Read(R::GetReservation)),
        method!("ReservationService", "ListReservations", Read(R::ListReservations)),
        method!("ReservationService", "GetOutcome", Read(R::GetOutcome)),
        method!("InventoryService", "Receive", Command(C::Receive)),
        method!("InventoryService", "Return", Command(C::Return)),
        method!("InventoryService", "Adjust", Command(C::Adjust)),
        method!("InventoryService", "SetQuantity", Command(C::SetQuantity)),
        method!("InventoryService", "Count", Command(C::Count)),
        method!("InventoryService", "GetInventoryLevel", Read(R::GetInventoryLevel)),
        method!("InventoryService", "ListInventoryLevels", Read(R::ListInventoryLevels)),
        method!("InventoryService", "MoveQuantity", Unimplemented),
        method!("InventoryService", "ShipTransfer", Unimplemented),
        method!("InventoryService", "ReceiveTransfer", Unimplemented),
        method!("InventoryService", "RecordMessages", Unimplemented, BATCH),
        method!("AvailabilityService", "GetAvailableToPromise", Unimplemented),
        method!("AvailabilityService", "WatchAvailability", Unimplemented),
        method!("JournalService", "ReadEvents", ReadEvents),
        method!("JournalService", "GetDigest", Digest),
        method!("JournalService", "GetStateAt", Unimplemented),
        method!("CatalogService", "UpsertItems", Command(C::UpsertItems), BATCH),
        method!("CatalogService", "GetItem", Read(R::GetItem)),
        method!("CatalogService", "ListItems", Read(R::ListItems)),
        method!("CatalogService", "UpsertLocations", Command(C::UpsertLocations), BATCH),
        method!("CatalogService", "GetLocation", Read(R::GetLocation)),
        method!("CatalogService", "ListLocations", Read(R::ListLocations)),
        method!("CatalogService", "UpsertChannels", Command(C::UpsertChannels), BATCH),
        method!("CatalogService", "GetChannel", Read(R::GetChannel)),
        method!("CatalogService", "ListChannels", Read(R::ListChannels)),
        method!("SourceService", "RegisterSource", Command(C::RegisterSource)),
        method!("SourceService", "ListSources", Unimplemented),
        method!("SourceService", "ListParked", Unimplemented),
        method!("SourceService", "SkipParked", Unimplemented),
        method!("AdminService", "GetServerInfo", ServerInfo),
        method!("AdminService", "CreateSnapshot", MethodKind::CreateSnapshot),
        method!("PolicyService", "SetLocationGroup", Unimplemented),
        method!("PolicyService", "GetLocationGroup", Unimplemented),
        method!("PolicyService", "ListLocationGroups", Unimplemented),
        method!("PolicyService", "SetSegment", Unimplemented),
        method!("PolicyService", "GetSegment", Unimplemented),
        method!("PolicyService", "ListSegments", Unimplemented),
        method!("PolicyService", "SetSafetyStock", Unimplemented),
        method!("PolicyService", "GetSafetyStock", Unimplemented),
        method!("PolicyService", "ListSafetyStocks", Unimplemented),
        method!("PolicyService", "SetChannelBuffer", Unimplemented),
        method!("PolicyService", "GetChannelBuffer", Unimplemented),
        method!("PolicyService", "ListChannelBuffers", Unimplemented),
        method!("PolicyService", "SetHoldPolicy", Unimplemented),
        method!("PolicyService", "GetHoldPolicy", Unimplemented),
        method!("PolicyService", "ListHoldPolicies", Unimplemented),
        method!("PolicyService", "SetAuthorityRule", Unimplemented),
        method!("PolicyService", "GetAuthorityRule", Unimplemented),
        method!("PolicyService", "ListAuthorityRules", Unimplemented),
    ]
};

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
            let later = remark.contains("UNIMPLEMENTED") || service == "PolicyService";
            assert_eq!(method.kind == MethodKind::Unimplemented, later, "{}", method.path);
        }
    }

    #[test]
    fn the_contract_states_the_longest_answer_of_every_method() {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos/invengine/v1");
        for method in METHODS.iter().filter(|method| method.kind != MethodKind::Unimplemented) {
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
        assert!(METHODS.iter().all(|method| find(method.path) == Some(*method)));
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
