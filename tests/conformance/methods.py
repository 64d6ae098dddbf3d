"""The methods of the contract with their types, so that a call's answer has the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message

from invengine.v1 import (
    admin_service_pb2,
    availability_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    source_service_pb2,
)

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """A unary method: its path and the types of request and answer."""

    path: str
    request: type[Q]
    answer: type[A]


def _method(service: str, request: type[Q], answer: type[A]) -> Method[Q, A]:
    name = request.DESCRIPTOR.name.removesuffix("Request")
    return Method(f"/invengine.v1.{service}/{name}", request, answer)


_RESERVATION = "ReservationService"
_INVENTORY = "InventoryService"
_CATALOG = "CatalogService"
_POLICY = "PolicyService"
_SOURCE = "SourceService"

_r = reservation_service_pb2
RESERVE = _method(_RESERVATION, _r.ReserveRequest, _r.ReserveResponse)
EXTEND = _method(_RESERVATION, _r.ExtendRequest, _r.ExtendResponse)
AMEND = _method(_RESERVATION, _r.AmendRequest, _r.AmendResponse)
ALLOCATE = _method(_RESERVATION, _r.AllocateRequest, _r.AllocateResponse)
RELEASE = _method(_RESERVATION, _r.ReleaseRequest, _r.ReleaseResponse)
FULFILL = _method(_RESERVATION, _r.FulfillRequest, _r.FulfillResponse)
TRANSFER = _method(_RESERVATION, _r.TransferReservationRequest, _r.TransferReservationResponse)
GET_RESERVATION = _method(_RESERVATION, _r.GetReservationRequest, _r.GetReservationResponse)
LIST_RESERVATIONS = _method(_RESERVATION, _r.ListReservationsRequest, _r.ListReservationsResponse)
GET_OUTCOME = _method(_RESERVATION, _r.GetOutcomeRequest, _r.GetOutcomeResponse)
SUBMIT = _method(_RESERVATION, _r.SubmitRequest, _r.SubmitResponse)
SUBMIT_STREAM = "/invengine.v1.ReservationService/SubmitStream"

_i = inventory_service_pb2
RECEIVE = _method(_INVENTORY, _i.ReceiveRequest, _i.ReceiveResponse)
RETURN = _method(_INVENTORY, _i.ReturnRequest, _i.ReturnResponse)
ADJUST = _method(_INVENTORY, _i.AdjustRequest, _i.AdjustResponse)
SET_QUANTITY = _method(_INVENTORY, _i.SetQuantityRequest, _i.SetQuantityResponse)
COUNT = _method(_INVENTORY, _i.CountRequest, _i.CountResponse)
MOVE_QUANTITY = _method(_INVENTORY, _i.MoveQuantityRequest, _i.MoveQuantityResponse)
SHIP_TRANSFER = _method(_INVENTORY, _i.ShipTransferRequest, _i.ShipTransferResponse)
RECEIVE_TRANSFER = _method(_INVENTORY, _i.ReceiveTransferRequest, _i.ReceiveTransferResponse)
CLOSE_TRANSFER = _method(_INVENTORY, _i.CloseTransferRequest, _i.CloseTransferResponse)
GET_STOCK_TRANSFER = _method(_INVENTORY, _i.GetStockTransferRequest, _i.GetStockTransferResponse)
LIST_STOCK_TRANSFERS = _method(_INVENTORY, _i.ListStockTransfersRequest, _i.ListStockTransfersResponse)
DELETE_STOCK_TRANSFERS = _method(_INVENTORY, _i.DeleteStockTransfersRequest, _i.DeleteStockTransfersResponse)
RECORD_MESSAGES = _method(_INVENTORY, _i.RecordMessagesRequest, _i.RecordMessagesResponse)
RECORD_MESSAGE_STREAM = "/invengine.v1.InventoryService/RecordMessageStream"
GET_LEVEL = _method(_INVENTORY, _i.GetInventoryLevelRequest, _i.GetInventoryLevelResponse)
LIST_LEVELS = _method(_INVENTORY, _i.ListInventoryLevelsRequest, _i.ListInventoryLevelsResponse)

_a = availability_service_pb2
GET_AVAILABILITY = _method("AvailabilityService", _a.GetAvailabilityRequest, _a.GetAvailabilityResponse)

_c = catalog_service_pb2
UPSERT_ITEMS = _method(_CATALOG, _c.UpsertItemsRequest, _c.UpsertItemsResponse)
GET_ITEM = _method(_CATALOG, _c.GetItemRequest, _c.GetItemResponse)
LIST_ITEMS = _method(_CATALOG, _c.ListItemsRequest, _c.ListItemsResponse)
DELETE_ITEMS = _method(_CATALOG, _c.DeleteItemsRequest, _c.DeleteItemsResponse)
UPSERT_LOCATIONS = _method(_CATALOG, _c.UpsertLocationsRequest, _c.UpsertLocationsResponse)
GET_LOCATION = _method(_CATALOG, _c.GetLocationRequest, _c.GetLocationResponse)
LIST_LOCATIONS = _method(_CATALOG, _c.ListLocationsRequest, _c.ListLocationsResponse)
DELETE_LOCATIONS = _method(_CATALOG, _c.DeleteLocationsRequest, _c.DeleteLocationsResponse)
UPSERT_CHANNELS = _method(_CATALOG, _c.UpsertChannelsRequest, _c.UpsertChannelsResponse)
GET_CHANNEL = _method(_CATALOG, _c.GetChannelRequest, _c.GetChannelResponse)
LIST_CHANNELS = _method(_CATALOG, _c.ListChannelsRequest, _c.ListChannelsResponse)

_p = policy_service_pb2
UPSERT_LOCATION_GROUPS = _method(_POLICY, _p.UpsertLocationGroupsRequest, _p.UpsertLocationGroupsResponse)
GET_LOCATION_GROUP = _method(_POLICY, _p.GetLocationGroupRequest, _p.GetLocationGroupResponse)
LIST_LOCATION_GROUPS = _method(_POLICY, _p.ListLocationGroupsRequest, _p.ListLocationGroupsResponse)
DELETE_LOCATION_GROUPS = _method(_POLICY, _p.DeleteLocationGroupsRequest, _p.DeleteLocationGroupsResponse)
UPSERT_AUTHORITY_RULES = _method(_POLICY, _p.UpsertAuthorityRulesRequest, _p.UpsertAuthorityRulesResponse)
GET_AUTHORITY_RULE = _method(_POLICY, _p.GetAuthorityRuleRequest, _p.GetAuthorityRuleResponse)
LIST_AUTHORITY_RULES = _method(_POLICY, _p.ListAuthorityRulesRequest, _p.ListAuthorityRulesResponse)
DELETE_AUTHORITY_RULES = _method(_POLICY, _p.DeleteAuthorityRulesRequest, _p.DeleteAuthorityRulesResponse)
LIST_OWNERS = _method(_POLICY, _p.ListOwnersRequest, _p.ListOwnersResponse)

_s = source_service_pb2
REGISTER_SOURCE = _method(_SOURCE, _s.RegisterSourceRequest, _s.RegisterSourceResponse)
LIST_SOURCES = _method(_SOURCE, _s.ListSourcesRequest, _s.ListSourcesResponse)
UPSERT_SOURCE_PROFILES = _method(_SOURCE, _s.UpsertSourceProfilesRequest, _s.UpsertSourceProfilesResponse)
GET_SOURCE_PROFILE = _method(_SOURCE, _s.GetSourceProfileRequest, _s.GetSourceProfileResponse)
LIST_SOURCE_PROFILES = _method(_SOURCE, _s.ListSourceProfilesRequest, _s.ListSourceProfilesResponse)
DELETE_SOURCE_PROFILES = _method(_SOURCE, _s.DeleteSourceProfilesRequest, _s.DeleteSourceProfilesResponse)
LIST_CLAIMS = _method(_SOURCE, _s.ListClaimsRequest, _s.ListClaimsResponse)
LIST_PARKED = _method(_SOURCE, _s.ListParkedRequest, _s.ListParkedResponse)
LIST_WAITING = _method(_SOURCE, _s.ListWaitingRequest, _s.ListWaitingResponse)
LIST_DEAD_LETTERS = _method(_SOURCE, _s.ListDeadLettersRequest, _s.ListDeadLettersResponse)
SKIP_GAP = _method(_SOURCE, _s.SkipGapRequest, _s.SkipGapResponse)
REDRIVE_DEAD_LETTERS = _method(_SOURCE, _s.RedriveDeadLettersRequest, _s.RedriveDeadLettersResponse)
DISCARD_DEAD_LETTERS = _method(_SOURCE, _s.DiscardDeadLettersRequest, _s.DiscardDeadLettersResponse)

_j = journal_service_pb2
UPSERT_CONSUMERS = _method("JournalService", _j.UpsertConsumersRequest, _j.UpsertConsumersResponse)
GET_CONSUMER = _method("JournalService", _j.GetConsumerRequest, _j.GetConsumerResponse)
LIST_CONSUMERS = _method("JournalService", _j.ListConsumersRequest, _j.ListConsumersResponse)
DELETE_CONSUMERS = _method("JournalService", _j.DeleteConsumersRequest, _j.DeleteConsumersResponse)
GET_DIGEST = _method("JournalService", _j.GetDigestRequest, _j.GetDigestResponse)
GET_STATE_AT = _method("JournalService", _j.GetStateAtRequest, _j.GetStateAtResponse)
LIST_HISTORY = _method("JournalService", _j.ListInventoryHistoryRequest, _j.ListInventoryHistoryResponse)
READ_EVENTS = "/invengine.v1.JournalService/ReadEvents"

_ad = admin_service_pb2
GET_SERVER_INFO = _method("AdminService", _ad.GetServerInfoRequest, _ad.GetServerInfoResponse)

FILES: tuple[FileDescriptor, ...] = tuple(module.DESCRIPTOR for module in (_ad, _a, _c, _i, _j, _p, _r, _s))


def every_method() -> list[MethodDescriptor]:
    """Each method of each service, as the contract declares it."""
    return [method for file in FILES for service in file.services_by_name.values() for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    """The path that a call of the method names."""
    return f"/{method.containing_service.full_name}/{method.name}"
