"""A call of every method of the client, with arguments that are valid."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from invengine.client import (
    AuthorityRight,
    AuthorityRule,
    Channel,
    Consumer,
    Item,
    JournalPosition,
    Location,
    LocationGroup,
    Position,
    SourceKind,
    SourceProfile,
    StockState,
    TransferRemainder,
    commands,
)

LINES = [("mug", "wh-1", 2)]
LEVEL = {"sku": "mug", "location": "wh-1"}
YEAR_S = 365 * 24 * 3600
NOTHINGS: list[Any] = [None, 0, "", [], ()]
STAMP = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
# What every command is called with, so that two calls send the same bytes.
KEYED = {"key": "k-1", "issue_time": STAMP}
CALLS: dict[str, dict[str, Any]] = {
    "reserve": {"lines": LINES} | KEYED,
    "extend": {"reservation_id": "r-1"} | KEYED,
    "amend": {"reservation_id": "r-1", "lines": LINES} | KEYED,
    "allocate": {"reservation_id": "r-1"} | KEYED,
    "release": {"reservation_id": "r-1"} | KEYED,
    "fulfill": {"reservation_id": "r-1"} | KEYED,
    "transfer": {"reservation_id": "r-1", "to_location": "wh-2"} | KEYED,
    "receive": {"lines": LINES} | KEYED,
    "return_": {"lines": LINES} | KEYED,
    "adjust": {"lines": LINES} | KEYED,
    "set_quantity": {"lines": LINES} | KEYED,
    "count": {"lines": LINES} | KEYED,
    "move_quantity": {"lines": LINES, "to_state": StockState.DAMAGED} | KEYED,
    "ship_transfer": {"transfer": "tr-1", "lines": [("mug", 2)], "from_location": "wh-1", "to_location": "wh-2"}
    | KEYED,
    "receive_transfer": {"transfer": "tr-1", "lines": [("mug", 2)]} | KEYED,
    "close_transfer": {"transfer": "tr-1", "remainder": TransferRemainder.LOST} | KEYED,
    "upsert_items": {"items": [Item("mug")]} | KEYED,
    "upsert_locations": {"locations": [Location("wh-1")]} | KEYED,
    "upsert_channels": {"channels": [Channel("app")]} | KEYED,
    "upsert_location_groups": {"groups": [LocationGroup("west", ("wh-1",))]} | KEYED,
    "upsert_consumers": {"consumers": [Consumer("feed", JournalPosition("main", 1, 7))]} | KEYED,
    "delete_consumers": {"consumers": ["feed"]} | KEYED,
    "delete_items": {"skus": ["mug"]} | KEYED,
    "delete_locations": {"locations": ["wh-1"]} | KEYED,
    "delete_location_groups": {"groups": ["west"]} | KEYED,
    "delete_stock_transfers": {"transfers": ["tr-1"]} | KEYED,
    "upsert_source_profiles": {"profiles": [SourceProfile("erp", SourceKind.ERP)]} | KEYED,
    "delete_source_profiles": {"profiles": ["erp"]} | KEYED,
    "upsert_authority_rules": {"rules": [AuthorityRule("r", rights=(AuthorityRight.SET,), source_id="erp")]} | KEYED,
    "delete_authority_rules": {"rules": ["r"]} | KEYED,
    "skip_gap": {"source_id": "erp", "epoch": 1, "through": 7} | KEYED,
    "redrive_dead_letters": {"source_id": "erp", "dead_letters": [7]},
    "discard_dead_letters": {"source_id": "erp", "dead_letters": [7]} | KEYED,
    "record_messages": {
        "messages": [commands.receive(LINES, key="m-1", source=Position("erp", 1, 1), issue_time=STAMP)]
    },
    "register_source": {"source_id": "erp"} | KEYED,
    "submit": {"drafts": [commands.reserve(LINES, key="k-1", issue_time=STAMP)]},
    "submit_reserves": {"skus": ["mug"], "locations": "wh-1", "keys": ["k-1"], "issue_time": STAMP},
    "get_reservation": {"reservation_id": "r-1"},
    "list_reservations": {},
    "get_outcome": {"key": "k-1"},
    "get_level": LEVEL,
    "list_levels": {},
    "get_level_at": LEVEL | {"at": 7},
    "list_levels_at": {"at": 7},
    "list_history": LEVEL,
    "availability": {"sku": "mug"},
    "availabilities": {"queries": ["mug"]},
    "get_item": {"sku": "mug"},
    "list_items": {},
    "get_location": {"location": "wh-1"},
    "list_locations": {},
    "get_channel": {"channel": "app"},
    "list_channels": {},
    "get_location_group": {"group": "west"},
    "list_location_groups": {},
    "get_stock_transfer": {"transfer": "tr-1"},
    "list_stock_transfers": {},
    "get_consumer": {"consumer": "feed"},
    "list_consumers": {},
    "get_source_profile": {"source_id": "erp"},
    "list_source_profiles": {},
    "get_authority_rule": {"rule": "r"},
    "list_authority_rules": {},
    "list_sources": {},
    "list_claims": {},
    "list_owners": {},
    "list_parked": {"source_id": "erp"},
    "list_waiting": {"source_id": "erp"},
    "list_dead_letters": {"source_id": "erp"},
    "read_events": {},
    "consume": {"consumer": "feed", "follow": False},
    "digest": {},
    "server_info": {},
    "create_snapshot": {},
    "operation": {"name": "order-1"},
    "source": {"source_id": "erp", "epoch": 1, "sequence": 0},
}
