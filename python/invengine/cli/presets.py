"""Sets of rules of authority for common systems of a retailer, as a table. Plain data: nothing here calls a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from invengine.client import AuthorityRight, AuthorityRule, Location, LocationType, SourceKind, StockState

PREFIX = "preset/"
"""The names of the rules that presets put begin with this; no other rule is changed by one."""

_OWN = (AuthorityRight.SET, AuthorityRight.ADJUST, AuthorityRight.REPORT)
_CORRECT = (AuthorityRight.ADJUST, AuthorityRight.REPORT)
_PROMISE = (AuthorityRight.PROMISE,)
_ORDER = (AuthorityRight.ORDER,)

_SELLING = (
    SourceKind.ORDER_MANAGEMENT, SourceKind.WEB_SHOP, SourceKind.APP, SourceKind.MARKETPLACE, SourceKind.POS,
)  # fmt: skip
_ORDERING = (
    SourceKind.ERP, SourceKind.ORDER_MANAGEMENT, SourceKind.WEB_SHOP, SourceKind.APP, SourceKind.MARKETPLACE,
)  # fmt: skip
_OWNER_AT = {
    LocationType.WAREHOUSE: SourceKind.WMS,
    LocationType.STORE: SourceKind.POS,
    LocationType.THIRD_PARTY: SourceKind.THIRD_PARTY,
    LocationType.DROP_SHIP_VENDOR: SourceKind.DROP_SHIP_VENDOR,
}


def _rule(
    rights: Sequence[AuthorityRight], holder: SourceKind | None, place: LocationType | None = None
) -> AuthorityRule:
    """A rule for sources of a kind, or for the operator; its name says all of it."""
    words = ["+".join(right.name.lower() for right in rights), holder.name.lower() if holder else "operator"]
    words += [place.name.lower()] if place else []
    return AuthorityRule(
        PREFIX + "/".join(words),
        rights=tuple(rights),
        source_kind=holder,
        operator=holder is None,
        location_type=place,
    )


def _erp_wms_pos() -> Iterator[AuthorityRule]:
    for place, owner in _OWNER_AT.items():
        yield _rule(_OWN, owner, place)
        # Rules for a type hide those for everywhere, so the operator's are repeated for each.
        yield _rule(_CORRECT, None, place)
    yield from (_rule(_PROMISE, holder) for holder in (None, *_SELLING))
    yield from (_rule(_ORDER, holder) for holder in _ORDERING)


def _single_warehouse() -> Iterator[AuthorityRule]:
    yield _rule(_OWN, SourceKind.WMS)
    yield _rule(_CORRECT, None)
    yield from (_rule(_PROMISE, holder) for holder in (None, *_SELLING))


PRESETS: dict[str, tuple[AuthorityRule, ...]] = {
    "erp-wms-pos": tuple(_erp_wms_pos()),
    "single-warehouse": tuple(_single_warehouse()),
    "open": (),
}
"""The rules of each preset. `open` has none: everybody may do everything again."""


def is_of_preset(rule: str) -> bool:
    """True for a rule that a preset put."""
    return rule.startswith(PREFIX)


def same(one: AuthorityRule, other: AuthorityRule) -> bool:
    """True if two rules say the same, whatever their versions are and in whatever order they name rights and states."""
    return _said(one) == _said(other)


def _said(rule: AuthorityRule) -> tuple[object, ...]:
    return (
        *(rule.rule, frozenset(rule.rights), frozenset(rule.states)),
        *(rule.source_id, rule.source_kind, rule.operator, rule.location, rule.location_type),
    )


def changes(preset: str, known: Iterable[AuthorityRule]) -> tuple[list[AuthorityRule], list[AuthorityRule]]:
    """The rules to put, with the versions that they must have, and those to delete, for a preset among these rules."""
    wanted = {rule.rule: rule for rule in PRESETS[preset]}
    found = {rule.rule: rule for rule in known}
    put = [
        replace(rule, version=found[name].version if name in found else 0)
        for name, rule in wanted.items()
        if name not in found or not same(rule, found[name])
    ]
    return put, [rule for name, rule in found.items() if is_of_preset(name) and name not in wanted]


def without_owner(rules: Sequence[AuthorityRule], locations: Iterable[Location]) -> list[str]:
    """The locations with a state that nobody would own by these rules; none if nobody has a right to stock by them."""
    if not any(right.is_of_stock for rule in rules for right in rule.rights):
        return []
    owning = [rule for rule in rules if AuthorityRight.SET in rule.rights]
    return [
        place.location
        for place in locations
        if not all(any(_is_about(rule, state, place) for rule in owning) for state in StockState)
    ]


def _is_about(rule: AuthorityRule, state: StockState, place: Location) -> bool:
    anywhere = not rule.location and rule.location_type is None
    here = anywhere or rule.location == place.location or (place.type is not None and rule.location_type is place.type)
    return here and (not rule.states or state in rule.states)
