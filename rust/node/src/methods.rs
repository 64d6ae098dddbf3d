//! Every method of `invengine.v1`: how it is answered, by which part, and how long its request and its answer may be.
//!
//! No answer is longer than [`ANSWER_BYTES_MAX`], which every gRPC client accepts by default: a command whose answer
//! could be longer is refused before it is executed, lists come in pages, and long answers have a short form.

use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;

pub use crate::sizes::{
    ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, PAGE_BYTES_MAX, SUBMIT_BYTES_MAX,
    SUBMIT_COMMANDS_MAX,
};
use crate::sizes::{ENTITY_BYTES_MAX, SMALL_ANSWER_BYTES_MAX};
use crate::translate::command::{CommandMethod, command};
use crate::translate::read::ReadMethod;

/// Path of the only unary method whose caller waits for the disk.
pub const CREATE_SNAPSHOT: &str = "/invengine.v1.AdminService/CreateSnapshot";
/// Path of the stream of events.
pub const READ_EVENTS: &str = "/invengine.v1.JournalService/ReadEvents";

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
            use MethodKind::{Digest, Read, ReadEvents, ServerInfo};
            matches!(method.kind, Read(_) | ReadEvents | Digest | ServerInfo)
        }
        None => !path.starts_with(PACKAGE),
    }
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
    ($service:literal, $name:literal, command $request:ident, batch $variant:ident) => {
        method!($service, $name, MethodKind::Command(CommandMethod::of::<v1::$request>().in_batch(|asked, tag| {
            if let Asked::$variant(asked) = asked { Some(command(asked, "", tag)) } else { None }
        })), COMMAND_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX)
    };
    ($service:literal, $name:literal, command $request:ident) => {
        method!($service, $name, command $request, COMMAND_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX)
    };
    ($service:literal, $name:literal, command $request:ident, $bytes_max:expr, $answer_bytes_max:expr) => {
        method!($service, $name, MethodKind::Command(CommandMethod::of::<v1::$request>()), $bytes_max, $answer_bytes_max)
    };
    ($service:literal, $name:literal, read $request:ident, $answer_bytes_max:expr) => {
        method!($service, $name, MethodKind::Read(ReadMethod::of::<v1::$request>()), COMMAND_BYTES_MAX, $answer_bytes_max)
    };
    ($service:literal, $name:literal, later) => {
        method!($service, $name, MethodKind::Unimplemented, COMMAND_BYTES_MAX, 0)
    };
}

/// All methods. The most frequent ones come first, because `find` searches in this order.
pub static METHODS: [Method; 50] = [
    method!("ReservationService", "Reserve", command ReserveRequest, batch Reserve),
    method!("ReservationService", "Allocate", command AllocateRequest, batch Allocate),
    method!("ReservationService", "Submit", MethodKind::Submit, SUBMIT_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("ReservationService", "SubmitStream", MethodKind::SubmitStream, SUBMIT_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("AvailabilityService", "GetAvailability", read GetAvailabilityRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", "Release", command ReleaseRequest, batch Release),
    method!("ReservationService", "Fulfill", command FulfillRequest, batch Fulfill),
    method!("ReservationService", "Extend", command ExtendRequest, batch Extend),
    method!("ReservationService", "Amend", command AmendRequest, batch Amend),
    method!("ReservationService", "TransferReservation", command TransferReservationRequest, batch TransferReservation),
    method!("ReservationService", "GetReservation", read GetReservationRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", "ListReservations", read ListReservationsRequest, ANSWER_BYTES_MAX),
    method!("ReservationService", "GetOutcome", read GetOutcomeRequest, ANSWER_BYTES_MAX),
    method!("InventoryService", "Receive", command ReceiveRequest),
    method!("InventoryService", "Return", command ReturnRequest),
    method!("InventoryService", "Adjust", command AdjustRequest),
    method!("InventoryService", "SetQuantity", command SetQuantityRequest),
    method!("InventoryService", "Count", command CountRequest),
    method!("InventoryService", "GetInventoryLevel", read GetInventoryLevelRequest, SMALL_ANSWER_BYTES_MAX),
    method!("InventoryService", "ListInventoryLevels", read ListInventoryLevelsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("InventoryService", "MoveQuantity", later),
    method!("InventoryService", "ShipTransfer", later),
    method!("InventoryService", "ReceiveTransfer", later),
    method!("InventoryService", "RecordMessages", MethodKind::Unimplemented, SUBMIT_BYTES_MAX, 0),
    method!("AvailabilityService", "GetAvailableToPromise", later),
    method!("AvailabilityService", "WatchAvailability", later),
    method!("JournalService", "ReadEvents", MethodKind::ReadEvents, COMMAND_BYTES_MAX, ANSWER_BYTES_MAX),
    method!("JournalService", "GetDigest", MethodKind::Digest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("JournalService", "GetStateAt", later),
    method!("CatalogService", "UpsertItems", command UpsertItemsRequest, SUBMIT_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX),
    method!("CatalogService", "GetItem", read GetItemRequest, SMALL_ANSWER_BYTES_MAX),
    method!("CatalogService", "ListItems", read ListItemsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("CatalogService", "DeleteItems", command DeleteItemsRequest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("CatalogService", "UpsertLocations", command UpsertLocationsRequest, SUBMIT_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX),
    method!("CatalogService", "GetLocation", read GetLocationRequest, SMALL_ANSWER_BYTES_MAX),
    method!("CatalogService", "ListLocations", read ListLocationsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("CatalogService", "DeleteLocations", command DeleteLocationsRequest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("CatalogService", "UpsertChannels", command UpsertChannelsRequest, SUBMIT_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX),
    method!("CatalogService", "GetChannel", read GetChannelRequest, SMALL_ANSWER_BYTES_MAX),
    method!("CatalogService", "ListChannels", read ListChannelsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("SourceService", "RegisterSource", command RegisterSourceRequest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("SourceService", "ListSources", later),
    method!("SourceService", "ListParked", later),
    method!("SourceService", "SkipParked", later),
    method!("AdminService", "GetServerInfo", MethodKind::ServerInfo, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("AdminService", "CreateSnapshot", MethodKind::CreateSnapshot, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
    method!("PolicyService", "UpsertLocationGroups", command UpsertLocationGroupsRequest, SUBMIT_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX),
    method!("PolicyService", "GetLocationGroup", read GetLocationGroupRequest, ENTITY_BYTES_MAX),
    method!("PolicyService", "ListLocationGroups", read ListLocationGroupsRequest, COMMAND_ANSWER_BYTES_MAX),
    method!("PolicyService", "DeleteLocationGroups", command DeleteLocationGroupsRequest, COMMAND_BYTES_MAX, SMALL_ANSWER_BYTES_MAX),
];

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
