"""Authority: profiles of sources, rules that say who may do what, claims, and who owns what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

from invengine.client import arguments, contract, results
from invengine.client.descriptors import CommandMethod, ListMethod, ReadMethod
from invengine.client.draft import CommandFields, Draft
from invengine.client.entities import EntityKind, Reference, member
from invengine.client.reads import Pages, Read, checked_page_size, in_pages, only_named
from invengine.client.times import stamp_time

if TYPE_CHECKING:
    from invengine.client.results import AuthorityRule, Claim, Owner, Receipt, Source, SourceProfile, Upserted

__all__ = [
    "delete_authority_rules",
    "delete_source_profiles",
    "upsert_authority_rules",
    "upsert_source_profiles",
]

_SOURCE_PROFILES = EntityKind(lambda: results.SourceProfile, "source", "SourceProfiles")
_AUTHORITY_RULES = EntityKind(lambda: results.AuthorityRule, "policy", "AuthorityRules")


def upsert_source_profiles(profiles: Iterable[SourceProfile], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Says what sources are and what they may speak of, atomically. `versions` of the result has their new versions.

    A profile with a `version` is stored only if it has that version now, 0 if there is none; else StaleVersion, and
    nothing is stored.

    profiles: 1 to 1,000 entries, each source at most once; a source need not be registered yet.
    """
    return _SOURCE_PROFILES.upsert(profiles, "profiles", fields)


def get_source_profile(source_id: str, *, timeout_s: float | None = None) -> Read[SourceProfile]:
    """The profile of one source, with its version.

    source_id: the name of the source.
    """
    return _SOURCE_PROFILES.get(source_id, timeout_s)


def list_source_profiles(*, page_size: int = 1000) -> Pages[SourceProfile]:
    """All profiles of sources, in the order they were first created; fetches page after page."""
    return _SOURCE_PROFILES.pages(page_size)


def delete_source_profiles(
    profiles: Iterable[Reference[SourceProfile]], **fields: Unpack[CommandFields]
) -> Draft[Receipt]:
    """Deletes profiles of sources, atomically: 1 to 1,000. The sources remain registered.

    profiles: each the name of a source, or (name, version) or a `SourceProfile` that was read, to be deleted only if it
        still has that version (else StaleVersion).
    """
    return _SOURCE_PROFILES.delete(profiles, "profiles", fields)


def upsert_authority_rules(rules: Iterable[AuthorityRule], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Creates or replaces rules of authority, atomically; they are in force from this command on.

    Rules that would give one state at one place two owners are refused (RuleConflict). A rule with a `version` is
    stored only if it has that version now, 0 if there is none; else StaleVersion, and nothing is stored. `versions` of
    the result has their new versions.

    rules: 1 to 1,000 entries, each name at most once.
    """
    return _AUTHORITY_RULES.upsert(rules, "rules", fields)


def get_authority_rule(rule: str, *, timeout_s: float | None = None) -> Read[AuthorityRule]:
    """One rule of authority, with its version.

    rule: its name.
    """
    return _AUTHORITY_RULES.get(rule, timeout_s)


def list_authority_rules(*, page_size: int = 1000) -> Pages[AuthorityRule]:
    """All rules of authority, in the order they were first created; fetches page after page."""
    return _AUTHORITY_RULES.pages(page_size)


def delete_authority_rules(
    rules: Iterable[Reference[AuthorityRule]], **fields: Unpack[CommandFields]
) -> Draft[Receipt]:
    """Deletes rules of authority, atomically: 1 to 1,000. Without any rule everybody may do everything.

    rules: each a name, or (name, version) or an `AuthorityRule` that was read, to be deleted only if it still has that
        version (else StaleVersion).
    """
    return _AUTHORITY_RULES.delete(rules, "rules", fields)


def list_sources(*, page_size: int = 1000) -> Pages[Source]:
    """All registered sources, in the order they were first registered; fetches page after page.

    Each has its epoch, the last number applied in it, its profile if it has one, and how many claims, parked and
    waiting messages and dead letters it has.
    """
    request = contract.source.ListSourcesRequest(page_size=checked_page_size(page_size))
    method, answer = contract.method("source", "ListSources"), contract.source.ListSourcesResponse
    return in_pages(method, request, answer, "sources", _source)


def list_claims(
    *, source_id: str | None = None, sku: str | None = None, location: str | None = None, page_size: int = 1000
) -> Pages[Claim]:
    """Numbers that had no effect, the newest of each writer about each state of a level; fetches page after page.

    A claim ends when a number of the same writer about the same takes effect.

    source_id: only those of this source; of all writers if omitted.
    """
    request = contract.source.ListClaimsRequest(
        source_id=only_named(source_id, "source_id"),
        sku=only_named(sku, "sku"),
        location=only_named(location, "location"),
        page_size=checked_page_size(page_size),
    )
    method, answer = contract.method("source", "ListClaims"), contract.source.ListClaimsResponse
    return in_pages(method, request, answer, "claims", _claim)


def list_owners(*, location: str | None = None, unowned_only: bool = False, page_size: int = 1000) -> Pages[Owner]:
    """Who owns each state at each location by the rules of authority; fetches page after page.

    Nothing as long as no rule grants SET, ADJUST or REPORT: then everybody may state every number.

    location: only this one; all if omitted.
    unowned_only: True leaves out what has an owner.
    """
    request = contract.policy.ListOwnersRequest(
        location=only_named(location, "location"),
        unowned_only=arguments.flag(unowned_only, "unowned_only"),
        page_size=checked_page_size(page_size),
    )
    method, answer = contract.method("policy", "ListOwners"), contract.policy.ListOwnersResponse
    return in_pages(method, request, answer, "owners", _owner)


def _source(message: Any) -> Source:
    profile = _SOURCE_PROFILES.value_of(message.profile) if message.HasField("profile") else None
    return results.Source(
        message.source_id,
        message.epoch,
        message.sequence,
        profile,
        message.claims,
        message.parked,
        stamp_time(message.parked_since) if message.HasField("parked_since") else None,
        message.waiting,
        stamp_time(message.waiting_since) if message.HasField("waiting_since") else None,
        message.dead_letters,
    )


def _claim(message: Any) -> Claim:
    return results.Claim(
        message.source_id,
        message.sku,
        message.location,
        member(results.StockState, message.state),
        message.quantity,
        message.ledger_quantity,
        member(results.ClaimReason, message.reason),
        message.sequence,
        stamp_time(message.time),
        stamp_time(message.event_time) if message.HasField("event_time") else None,
    )


def _owner(message: Any) -> Owner:
    return results.Owner(message.location, member(results.StockState, message.state), message.owner)


class AuthorityCommands:
    """The commands on profiles and rules, as methods."""

    upsert_source_profiles = CommandMethod(upsert_source_profiles)
    delete_source_profiles = CommandMethod(delete_source_profiles)
    upsert_authority_rules = CommandMethod(upsert_authority_rules)
    delete_authority_rules = CommandMethod(delete_authority_rules)


class AuthorityReads:
    """The reads of profiles, rules, claims and owners, as methods."""

    get_source_profile = ReadMethod(get_source_profile)
    list_source_profiles = ListMethod(list_source_profiles)
    get_authority_rule = ReadMethod(get_authority_rule)
    list_authority_rules = ListMethod(list_authority_rules)
    list_sources = ListMethod(list_sources)
    list_claims = ListMethod(list_claims)
    list_owners = ListMethod(list_owners)
