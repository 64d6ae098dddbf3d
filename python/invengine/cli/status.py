"""`invengine status | availability | version`: the state of a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invengine.cli.options import Channel, Json, Target, TimeoutMs, connected, parse_level, settings_of
from invengine.cli.output import plain, print_facts, print_json, print_line, print_table, visible

if TYPE_CHECKING:
    from invengine.client import Availability, Client, Owner, Source

COUNTERS_TIMEOUT_S = 2.0
# The maximum number of states without an owner in the warning.
UNOWNED_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("availability")(availability)
    app.command("status")(status)
    app.command("version")(version)


def availability(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="SKU[@LOCATION]...", help="Items, at one location or at all.")],
    channel: Channel = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Units that may be held now."""
    queries: list[tuple[str, str | None] | str] = [parse_level(text) if "@" in text else text for text in what]
    with connected(context, target, timeout_ms, channel) as client:
        found = client.availabilities(queries)
    if as_json:
        for each in found:
            print_json(plain(each) | {"sequence": found.sequence, "durable_sequence": found.durable_sequence})
    else:
        shown = [(each.sku, each.location, "unknown" if each.available is None else each.available) for each in found]
        print_table(("sku", "location", "available"), shown)
        print_line(f"sequence {found.sequence}")
    _refuse_unknown(found)


def _refuse_unknown(found: Iterable[Availability]) -> None:
    """Raises a rejection if a name is unknown, after everything else was printed."""
    from invengine.errors import UnknownLocation, UnknownSku

    for each in found:
        if each.unknown_sku:
            raise UnknownSku(f"no such item: {each.sku}; create it first", metadata={"sku": each.sku})
        if each.unknown_location:
            raise UnknownLocation(
                f"no such location: {each.location}; create it first", metadata={"location": each.location}
            )


def status(
    context: typer.Context,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    metrics_address: Annotated[
        str | None, typer.Option("--metrics-address", help="Where its /metrics listens, for the counters.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the server, its guarantees, the digest of its state, and its counters if /metrics can be read.

    Also how many sources there are, their claims and their messages that are kept, and which states nobody owns where
    rules of authority are in force. It warns of dead letters, and of messages that were parked or wait for long.
    """
    settings = settings_of(context, metrics_address=metrics_address).settings
    with connected(context, target, timeout_ms) as client:
        found = client.server_info()
        digest = client.digest()
        sources, authority, unowned = authority_of(client)
    described: dict[str, Any] = plain(found)
    facts = described | {"digest": digest.digest, "digest_sequence": digest.sequence}
    facts |= authority
    facts |= counters(settings.metrics_address)
    print_facts(facts, as_json=as_json)
    if as_json:
        return
    if unowned:
        print_line(_warning(unowned))
    if sources:
        from invengine.cli.source_messages import warnings_of

        for warning in warnings_of(sources, found.engine_time):
            print_line(warning)


def authority_of(client: Client) -> tuple[Sequence[Source], dict[str, Any], Sequence[Owner]]:
    """Sources, what is kept of them and what nobody owns, as facts, and the states without an owner.

    An older server says nothing.
    """
    from invengine.errors import Unimplemented

    try:
        sources = list(client.list_sources())
        unowned = list(client.list_owners(unowned_only=True))
    except Unimplemented:
        return (), {}, ()
    facts = {
        "sources": len(sources),
        "claims_of_sources": sum(source.claims for source in sources),
        "parked_messages": sum(source.parked for source in sources),
        "waiting_messages": sum(source.waiting for source in sources),
        "dead_letters": sum(source.dead_letters for source in sources),
        "states_without_owner": len(unowned),
    }
    return sources, facts, unowned


def _warning(unowned: Sequence[Owner]) -> str:
    first = ", ".join(f"{each.state.field} at {visible(each.location)}" for each in unowned[:UNOWNED_SHOWN])
    more = f" and {len(unowned) - UNOWNED_SHOWN:,} more" if len(unowned) > UNOWNED_SHOWN else ""
    return (
        f"warning: nobody owns {first}{more}: quantities that are set or counted there are only claims; add a rule "
        "(`invengine authority owners --unowned` lists them all)"
    )


def version(as_json: Json = False) -> None:
    """The versions of the package and of its core."""
    print_facts({"invengine": package_version(), "core": core_version()}, as_json=as_json)


def package_version() -> str:
    """Returns the version of the installed package; `unknown` if it runs from its sources."""
    import importlib.metadata

    try:
        return importlib.metadata.version("invengine")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def core_version() -> str:
    """Returns the version of the extension; `not built` without it."""
    try:
        from invengine import _core
    except ImportError:
        return "not built"
    return _core.version()


def counters(address: str) -> dict[str, Any]:
    """Reads the main counters of a server from its /metrics; empty if they cannot be read."""
    if not address:
        return {}
    import http.client

    connection = http.client.HTTPConnection(address, timeout=COUNTERS_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        return _sums(connection.getresponse().read().decode("utf-8"))
    except (http.client.HTTPException, OSError, ValueError):
        return {}
    finally:
        connection.close()


def _sums(text: str) -> dict[str, Any]:
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "invengine_commands_total":
                name = f"commands_{sample.labels['outcome']}"
                found[name] = found.get(name, 0) + int(sample.value)
            elif sample.name in _PLAIN_COUNTERS:
                found[sample.name.removeprefix("invengine_")] = int(sample.value)
    return found


_PLAIN_COUNTERS = frozenset(
    {
        "invengine_commands_in_flight",
        "invengine_open_reservations",
        "invengine_journal_bytes",
        "invengine_keys",
        "invengine_poisoned",
        "invengine_draining",
    }
)
