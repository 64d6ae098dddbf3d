"""`invengine authority`: rules that say who may do what, and who owns which number."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from invengine.cli.entities import EntityKind, add_one, entity_commands
from invengine.cli.exits import UsageProblemError
from invengine.cli.keys import command_key
from invengine.cli.options import Json, Key, PutVersion, Target, TimeoutMs, connected
from invengine.cli.output import plain, print_json, print_line, print_rows, visible
from invengine.cli.presets import PRESETS, changes, is_of_preset, without_owner
from invengine.client import AuthorityRight, AuthorityRule, Client, LocationType, SourceKind, StockState

# The maximum number of names in one line for people.
SHOWN = 10

app = typer.Typer(
    help="Rules of authority: add, list, show, delete, owners, preset.", no_args_is_help=True, add_completion=False
)

AUTHORITY_RULES = EntityKind(
    "authority rules",
    AuthorityRule,
    ("rule", "version", "source_id", "source_kind", "operator", "rights", "states", "location", "location_type"),
    Client.upsert_authority_rules,
    Client.list_authority_rules,
    Client.delete_authority_rules,
    Client.get_authority_rule,
)

Right = enum.StrEnum("Right", {each.name: each.name.lower() for each in AuthorityRight if each})  # type: ignore[misc]
Kind = enum.StrEnum("Kind", {each.name: each.name.lower() for each in SourceKind if each})  # type: ignore[misc]
Part = enum.StrEnum("Part", {each.name: each.field for each in StockState})  # type: ignore[misc]
Type = enum.StrEnum("Type", {each.name: each.name.lower() for each in LocationType})  # type: ignore[misc]
Preset = enum.StrEnum("Preset", {name.replace("-", "_"): name for name in PRESETS})  # type: ignore[misc]


@app.callback()
def root() -> None:
    """Rules of authority: add, list, show, delete, owners, preset."""


entity_commands(app, AUTHORITY_RULES)


@app.command("add")
def add_rule(
    context: typer.Context,
    rule: str,
    rights: Annotated[list[Right], typer.Option("--right", help="What may be done; once or more.")],
    source: Annotated[str | None, typer.Option("--source", help="Who: this source, which is registered.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Who: all sources of this kind.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Who: all commands that come from no source.")] = False,
    states: Annotated[
        list[Part] | None, typer.Option("--state", help="To which part of the stock; once or more, all if not given.")
    ] = None,
    location: Annotated[str | None, typer.Option("--location", help="Where: at this location.")] = None,
    location_type: Annotated[Type | None, typer.Option("--type", help="Where: at locations of this type.")] = None,
    expected_version: PutVersion = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create or replace one rule: `authority add wms-owns --right set --kind wms --type warehouse`."""
    if (source is not None) + (kind is not None) + operator != 1:
        raise UsageProblemError("say whose right it is by exactly one of --source, --kind and --operator")
    if location is not None and location_type is not None:
        raise UsageProblemError("a rule is for one --location, for a --type, or for all: give one of them or neither")
    value = AuthorityRule(
        rule,
        rights=tuple(AuthorityRight[each.name] for each in rights),
        source_id=source or "",
        source_kind=None if kind is None else SourceKind[kind.name],
        operator=operator,
        states=tuple(StockState[each.name] for each in states or ()),
        location=location or "",
        location_type=None if location_type is None else LocationType[location_type.name],
        version=expected_version,
    )
    add_one(context, AUTHORITY_RULES, value, key, target, timeout_ms, as_json)


@app.command("owners")
def owners(
    context: typer.Context,
    location: Annotated[str | None, typer.Option("--location", help="Only at this location.")] = None,
    unowned: Annotated[bool, typer.Option("--unowned", help="Only states that nobody owns.")] = False,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List who owns each state at each location: whose numbers count there.

    Nothing as long as no rule grants set, adjust or report to anybody.
    """
    with connected(context, target, timeout_ms) as client:
        found = client.list_owners(location=location, unowned_only=unowned)
        print_rows(found, ("location", "state", "owner"), as_json=as_json)


@app.command("preset")
def preset(
    context: typer.Context,
    name: Annotated[Preset, typer.Argument(metavar="NAME", help=f"One of {', '.join(PRESETS)}.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    keep_others: Annotated[
        bool, typer.Option("--keep-others", help="Leave rules that no preset put, which stay in force beside it.")
    ] = False,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Put the rules of a preset, all in one step, and delete those of another one. Doing it twice changes nothing.

    Rules that no preset put are left as they are: if there are any, nothing is done without --keep-others. Only `open`
    deletes them too, unless --keep-others is given: without any rule everybody may do everything.
    """
    with connected(context, target, timeout_ms) as client:
        known = list(client.list_authority_rules())
        others = [rule for rule in known if not is_of_preset(rule.rule)]
        put, gone = changes(name, known)
        if not PRESETS[name] and not keep_others:
            gone, others = known, []
        if others and not keep_others and not dry_run:
            raise UsageProblemError(
                f"rules that no preset put would stay in force beside it: {_names(others)}; delete them first, or give "
                "--keep-others"
            )
        unowned = without_owner([*PRESETS[name], *others], client.list_locations())
        facts: dict[str, Any] = {"preset": str(name), "put": put, "deleted": gone, "others": others}
        facts |= {"locations_without_owner": unowned, "dry_run": dry_run}
        if not dry_run and (put or gone):
            key = command_key(key)
            facts |= {"sequence": _apply(client, put, gone, key), "key": key}
    print_json(facts) if as_json else _print(facts)


def _apply(client: Client, put: Sequence[AuthorityRule], gone: Sequence[AuthorityRule], key: str) -> int:
    """Puts, then deletes: in between nobody has lost a right. Only what is still as it was read is changed."""
    sequence = 0
    if put:
        sequence = client.upsert_authority_rules(put, key=f"{key}/put").sequence
    if gone:
        sequence = client.delete_authority_rules(gone, key=f"{key}/delete").sequence
    return sequence


def _names(rules: Sequence[AuthorityRule]) -> str:
    shown = ", ".join(visible(rule.rule) for rule in rules[:SHOWN])
    return shown if len(rules) <= SHOWN else f"{shown} and {len(rules) - SHOWN} more"


def _print(facts: dict[str, Any]) -> None:
    would = "would be " if facts["dry_run"] else ""
    for word in ("put", "deleted"):
        for rule in facts[word]:
            print_line(f"{would}{word}: {visible(rule.rule)}: {said(rule)}")
    if not facts["put"] and not facts["deleted"]:
        print_line("nothing to change: exactly these rules are in force")
    if facts["others"]:
        print_line(f"{'would stay' if would else 'stay'} beside it: {_names(facts['others'])}")
    if unowned := facts["locations_without_owner"]:
        names = ", ".join(visible(each) for each in unowned[:SHOWN])
        more = f" and {len(unowned) - SHOWN} more" if len(unowned) > SHOWN else ""
        print_line(
            f"warning: no one owns the stock at {names}{more}: nobody may change it there; give the location a type "
            "(`catalogue locations add --type`), or add a rule for it"
        )
    if "key" in facts:
        print_line(f"sequence {facts['sequence']}, key {facts['key']}")


def said(rule: AuthorityRule) -> str:
    """What a rule says, as a sentence without an end."""
    if rule.operator:
        who = "the operator"
    else:
        kind = rule.source_kind
        who = f"source {visible(rule.source_id)}" if kind is None else f"sources of kind {plain(kind)}"
    what = ", ".join(plain(right) for right in rule.rights)
    of = f" of {', '.join(state.field for state in rule.states)}" if rule.states else ""
    where = "everywhere"
    if rule.location:
        where = f"at {visible(rule.location)}"
    elif rule.location_type is not None:
        where = f"at locations of type {plain(rule.location_type)}"
    return f"{who} may {what}{of} {where}"
