//! Requests as they are sent over the wire.

use invengine_wire::v1;
use invengine_wire::v1::hold_target::By;
use prost::Message;

/// The part that the answers of all commands share.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReceiptOnly {
    /// The journal position.
    #[prost(message, optional, tag = "1")]
    pub receipt: Option<v1::Receipt>,
}

/// An action on a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Binds it to an order.
    Allocate,
    /// Frees its units.
    Release,
    /// The goods leave the stock.
    Fulfill,
    /// Extends its time to live.
    Extend,
    /// Changes its quantities.
    Amend,
    /// Moves it to another location.
    Transfer,
}

/// One request: its path and its encoded message.
pub type Request = (&'static str, Vec<u8>);

fn seconds(ttl_s: u64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: ttl_s as i64, nanos: 0 })
}

fn target(key: &str) -> Option<v1::HoldTarget> {
    Some(v1::HoldTarget { by: Some(By::ReservationKey(key.into())), ..Default::default() })
}

/// A time as messages encode it.
pub fn timestamp(ms: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32 })
}

/// A reserve of these lines, as a message.
pub fn reserve_message(context: v1::CommandContext, lines: &[(String, String, i64)], ttl_s: u64) -> v1::ReserveRequest {
    let lines = lines.iter().map(|(sku, location, quantity)| v1::LineRequest {
        sku: sku.clone(),
        location: location.clone(),
        quantity: *quantity,
        ..Default::default()
    });
    v1::ReserveRequest { context: Some(context), lines: lines.collect(), ttl: seconds(ttl_s), ..Default::default() }
}

/// A reserve of these lines, as a request.
pub fn reserve(context: v1::CommandContext, lines: &[(String, String, i64)], ttl_s: u64) -> Request {
    ("/invengine.v1.ReservationService/Reserve", reserve_message(context, lines, ttl_s).encode_to_vec())
}

/// Several reserves in one batch.
pub fn submit(reserves: Vec<v1::ReserveRequest>) -> Request {
    let command = |reserve| v1::Command { command: Some(v1::command::Command::Reserve(reserve)) };
    let batch = v1::SubmitRequest { commands: reserves.into_iter().map(command).collect() };
    ("/invengine.v1.ReservationService/Submit", batch.encode_to_vec())
}

/// A command on the hold that a key created; `line` and `ttl_s` are used where the action needs them.
pub fn on_hold(
    what: HoldAction,
    context: v1::CommandContext,
    key: &str,
    line: (&str, &str, i64),
    ttl_s: u64,
) -> Request {
    let (context, target) = (Some(context), target(key));
    let (sku, location, quantity) = (line.0.to_owned(), line.1.to_owned(), line.2);
    match what {
        HoldAction::Allocate => {
            ("/invengine.v1.ReservationService/Allocate", v1::AllocateRequest { context, target }.encode_to_vec())
        }
        HoldAction::Release => {
            ("/invengine.v1.ReservationService/Release", v1::ReleaseRequest { context, target }.encode_to_vec())
        }
        HoldAction::Fulfill => {
            ("/invengine.v1.ReservationService/Fulfill", v1::FulfillRequest { context, target }.encode_to_vec())
        }
        HoldAction::Extend => (
            "/invengine.v1.ReservationService/Extend",
            v1::ExtendRequest { context, target, ttl: seconds(ttl_s) }.encode_to_vec(),
        ),
        HoldAction::Amend => {
            let lines = vec![v1::LineSelection { sku, location, quantity }];
            let amend = v1::AmendRequest { context, target, lines };
            ("/invengine.v1.ReservationService/Amend", amend.encode_to_vec())
        }
        HoldAction::Transfer => {
            let transfer = v1::TransferReservationRequest { context, target, to_location: location };
            ("/invengine.v1.ReservationService/TransferReservation", transfer.encode_to_vec())
        }
    }
}

/// A movement of stock: which of six, with its quantity (a delta for the third).
pub fn stock(kind: u64, context: v1::CommandContext, sku: &str, location: &str, quantity: i64) -> Request {
    let (context, sku, location) = (Some(context), sku.to_owned(), location.to_owned());
    let state = v1::StockState::Unspecified as i32;
    match kind {
        0 => {
            let lines = vec![v1::StockLine { sku, location, quantity, state }];
            ("/invengine.v1.InventoryService/Receive", v1::ReceiveRequest { context, lines }.encode_to_vec())
        }
        1 => {
            let state = v1::StockState::Returned as i32;
            let lines = vec![v1::StockLine { sku, location, quantity, state }];
            ("/invengine.v1.InventoryService/Return", v1::ReturnRequest { context, lines }.encode_to_vec())
        }
        2 => {
            let lines = vec![v1::StockDelta { sku, location, delta: -quantity, state }];
            ("/invengine.v1.InventoryService/Adjust", v1::AdjustRequest { context, lines }.encode_to_vec())
        }
        5 => {
            let (from_state, to_state) = (state, v1::StockState::Damaged as i32);
            let lines = vec![v1::StateMove { sku, location, quantity, from_state, to_state }];
            ("/invengine.v1.InventoryService/MoveQuantity", v1::MoveQuantityRequest { context, lines }.encode_to_vec())
        }
        kind => {
            let lines = vec![v1::StockQuantity { sku, location, quantity, state, expected_quantity: None }];
            if kind == 3 {
                let set = v1::SetQuantityRequest { context, lines };
                ("/invengine.v1.InventoryService/SetQuantity", set.encode_to_vec())
            } else {
                ("/invengine.v1.InventoryService/Count", v1::CountRequest { context, lines }.encode_to_vec())
            }
        }
    }
}

/// Ships units of an item: a new stock transfer.
pub fn ship(context: v1::CommandContext, transfer: String, ends: [String; 2], sku: String, quantity: i64) -> Request {
    let [from_location, to_location] = ends;
    let lines = vec![v1::ShipmentLine { sku, quantity }];
    let ship = v1::ShipTransferRequest { context: Some(context), transfer, from_location, to_location, lines };
    ("/invengine.v1.InventoryService/ShipTransfer", ship.encode_to_vec())
}

/// Units of an item arrive; without an item everything that is on its way.
pub fn arrive(context: v1::CommandContext, transfer: String, sku: String, quantity: i64) -> Request {
    let whole = sku.is_empty();
    let lines = if whole { Vec::new() } else { vec![v1::ArrivalLine { sku, quantity, state: 0 }] };
    let context = Some(context);
    let arrive = v1::ReceiveTransferRequest { context, transfer, expected_version: None, whole, lines };
    ("/invengine.v1.InventoryService/ReceiveTransfer", arrive.encode_to_vec())
}

/// Closes a stock transfer.
pub fn close(context: v1::CommandContext, transfer: String, is_lost: bool) -> Request {
    let remainder = if is_lost { v1::TransferRemainder::Lost } else { v1::TransferRemainder::SentBack } as i32;
    let close = v1::CloseTransferRequest { context: Some(context), transfer, expected_version: None, remainder };
    ("/invengine.v1.InventoryService/CloseTransfer", close.encode_to_vec())
}

/// Deletes a stock transfer.
pub fn delete_transfer(context: v1::CommandContext, transfer: String) -> Request {
    let stock_transfers = vec![v1::EntityReference { name: transfer, version: None }];
    let delete = v1::DeleteStockTransfersRequest { context: Some(context), stock_transfers };
    ("/invengine.v1.InventoryService/DeleteStockTransfers", delete.encode_to_vec())
}

/// Requests a new epoch for a source.
pub fn register(context: v1::CommandContext, source_id: &str) -> Request {
    let register = v1::RegisterSourceRequest { context: Some(context), source_id: source_id.into() };
    ("/invengine.v1.SourceService/RegisterSource", register.encode_to_vec())
}

/// Puts or deletes a location group, with the version that it should have.
pub fn location_group(
    context: v1::CommandContext,
    group: String,
    locations: Vec<String>,
    version: Option<i64>,
) -> Request {
    let context = Some(context);
    if locations.is_empty() {
        let location_groups = vec![v1::EntityReference { name: group, version }];
        let delete = v1::DeleteLocationGroupsRequest { context, location_groups };
        return ("/invengine.v1.PolicyService/DeleteLocationGroups", delete.encode_to_vec());
    }
    let location_groups = vec![v1::LocationGroup { group, locations, version }];
    let upsert = v1::UpsertLocationGroupsRequest { context, location_groups };
    ("/invengine.v1.PolicyService/UpsertLocationGroups", upsert.encode_to_vec())
}

/// Puts a rule of authority, or deletes it if it grants no rights.
pub fn authority_rule(context: v1::CommandContext, rule: v1::AuthorityRule) -> Request {
    let context = Some(context);
    if rule.rights.is_empty() {
        let authority_rules = vec![v1::EntityReference { name: rule.rule, version: None }];
        let delete = v1::DeleteAuthorityRulesRequest { context, authority_rules };
        return ("/invengine.v1.PolicyService/DeleteAuthorityRules", delete.encode_to_vec());
    }
    let upsert = v1::UpsertAuthorityRulesRequest { context, authority_rules: vec![rule] };
    ("/invengine.v1.PolicyService/UpsertAuthorityRules", upsert.encode_to_vec())
}

/// Puts the profile of a source, or deletes it if it has no kind.
pub fn source_profile(context: v1::CommandContext, profile: v1::SourceProfile) -> Request {
    let context = Some(context);
    if profile.kind == 0 {
        let source_profiles = vec![v1::EntityReference { name: profile.source_id, version: None }];
        let delete = v1::DeleteSourceProfilesRequest { context, source_profiles };
        return ("/invengine.v1.SourceService/DeleteSourceProfiles", delete.encode_to_vec());
    }
    let upsert = v1::UpsertSourceProfilesRequest { context, source_profiles: vec![profile] };
    ("/invengine.v1.SourceService/UpsertSourceProfiles", upsert.encode_to_vec())
}

/// Requests the availability of one item at one location.
pub fn availability(sku: &str, location: &str) -> Request {
    let query = v1::AvailabilityQuery { sku: sku.into(), location: location.into(), ..Default::default() };
    let request = v1::GetAvailabilityRequest { queries: vec![query], ..Default::default() };
    ("/invengine.v1.AvailabilityService/GetAvailability", request.encode_to_vec())
}

/// Requests the outcome of a key.
pub fn outcome(channel: &str, key: &str) -> Request {
    let request = v1::GetOutcomeRequest { idempotency_key: key.into(), channel: channel.into(), ..Default::default() };
    ("/invengine.v1.ReservationService/GetOutcome", request.encode_to_vec())
}

/// Lists all levels.
pub fn levels() -> Request {
    let request = v1::ListInventoryLevelsRequest { page_size: 1_000, ..Default::default() };
    ("/invengine.v1.InventoryService/ListInventoryLevels", request.encode_to_vec())
}

/// Requests the digest.
pub fn digest() -> Request {
    ("/invengine.v1.JournalService/GetDigest", v1::GetDigestRequest::default().encode_to_vec())
}
