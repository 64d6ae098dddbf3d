"""Commands on entities, the same for every kind: list, show, delete, and what an `add` prints. A kind is a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from invengine.cli.keys import command_key
from invengine.cli.options import Json, Key, Target, TimeoutMs, connected
from invengine.cli.output import plain, print_facts, print_line, print_rows, visible
from invengine.client import Client, LookAlike, Receipt, Upserted

# The maximum number of look-alikes in the output for people.
LOOK_ALIKES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class EntityKind:
    """One kind: its name for people, its value and the columns of it, and the client methods that its commands call."""

    noun: str
    make: Callable[..., Any]
    columns: tuple[str, ...]
    upsert: Callable[..., Upserted] | None
    """None for a kind with commands of its own."""
    read_all: Callable[[Client], Iterable[Any]]
    delete: Callable[..., Receipt] | None = None
    read: Callable[..., Any] | None = None
    """For kinds with more in a value than a row of the list can show well."""

    @property
    def fact(self) -> str:
        """The name of their number in the output of commands."""
        return self.noun.replace(" ", "_")


def entity_app(parent: typer.Typer, kind: EntityKind, text: str) -> typer.Typer:
    """Adds a group with the commands that a kind has; its `add` has flags of its own."""
    sub = typer.Typer(help=text, no_args_is_help=True, add_completion=False)
    entity_commands(sub, kind)
    parent.add_typer(sub, name=kind.noun.replace(" ", "-"))
    return sub


def entity_commands(sub: typer.Typer, kind: EntityKind) -> None:
    """Adds the commands that all kinds have."""
    # As defaults, since an annotation is evaluated where it cannot see the kind.
    metavar = kind.columns[0].upper()
    one, several = typer.Argument(metavar=metavar), typer.Argument(metavar=f"{metavar}...")

    @sub.command("list", help=f"List all {kind.noun}, in the order they were created.")
    def show_all(
        context: typer.Context, target: Target = None, timeout_ms: TimeoutMs = None, as_json: Json = False
    ) -> None:
        with connected(context, target, timeout_ms) as client:
            print_rows(kind.read_all(client), kind.columns, as_json=as_json)

    if kind.read is not None:

        @sub.command("show", help=f"Show one of the {kind.noun}.")
        def show(
            context: typer.Context,
            name: str = one,
            target: Target = None,
            timeout_ms: TimeoutMs = None,
            as_json: Json = False,
        ) -> None:
            assert kind.read is not None
            with connected(context, target, timeout_ms) as client:
                print_facts(plain(kind.read(client, name)), as_json=as_json)

    if kind.delete is not None:

        @sub.command("delete", help=f"Delete {kind.noun}, all of them or none. What something refers to is refused.")
        def remove(
            context: typer.Context,
            names: list[str] = several,
            key: Key = None,
            target: Target = None,
            timeout_ms: TimeoutMs = None,
            as_json: Json = False,
        ) -> None:
            assert kind.delete is not None
            key = command_key(key)
            with connected(context, target, timeout_ms) as client:
                receipt = kind.delete(client, names, key=key)
            facts = {f"deleted_{kind.fact}": len(names), "sequence": receipt.sequence, "replayed": receipt.replayed}
            print_facts({**facts, "key": key}, as_json=as_json)


def add_one(
    context: typer.Context,
    kind: EntityKind,
    value: Any,
    key: str | None,
    target: str | None,
    timeout_ms: int | None,
    as_json: bool,
) -> None:
    """Creates or replaces one entity, and prints its version if the kind has versions."""
    assert kind.upsert is not None
    key = command_key(key)
    with connected(context, target, timeout_ms) as client:
        stored = kind.upsert(client, [value], key=key)
    facts: dict[str, Any] = {kind.fact: 1, "sequence": stored.sequence, "replayed": stored.replayed, "key": key}
    if stored.versions:
        facts["version"] = stored.versions[0]
    print_stored(facts, stored.look_alikes, as_json=as_json)


def print_stored(facts: dict[str, Any], look_alikes: Sequence[LookAlike], *, as_json: bool) -> None:
    """Prints what was stored, and which names may be confused with older ones."""
    if as_json:
        print_facts({**facts, "look_alikes": look_alikes}, as_json=True)
        return
    print_facts(facts, as_json=False)
    print_look_alikes(look_alikes)


def print_look_alikes(look_alikes: Sequence[LookAlike]) -> None:
    """Prints which names may be confused with older ones, for people."""
    for each in look_alikes[:LOOK_ALIKES_SHOWN]:
        print_line(f"look-alike: {visible(each.name)} looks like the older {visible(each.older_name)}")
    if len(look_alikes) > LOOK_ALIKES_SHOWN:
        print_line(f"look-alikes: {len(look_alikes) - LOOK_ALIKES_SHOWN} more; --json lists all")
