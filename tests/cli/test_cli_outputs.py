"""The exit code of a command is independent of its output: every command, with every kind of output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from google.protobuf.json_format import MessageToJson

from invengine.cli.exits import ExitCode
from invengine.client import (
    AuthorityRight,
    AuthorityRule,
    Channel,
    Client,
    Consumer,
    Draft,
    Item,
    JournalPosition,
    Location,
    LocationGroup,
    Position,
    SourceKind,
    SourceProfile,
    messages,
    recording,
)

from ..conformance.redis_server import free_port
from .test_cli_server import WAIT_S, process, ready, serve
from .test_cli_usage import commands

SKU = "MÜG"
LINE = f"{SKU}@berlin"


@dataclass(frozen=True)
class Case:
    """One command on one kind of output. `key` is its own, `hold` the key of a hold that was made for it."""

    command: str
    output: str
    directory: Path

    @property
    def key(self) -> str:
        return f"{self.command.replace(' ', '-')}/{self.output}".replace(" ", "")

    @property
    def hold(self) -> str:
        return f"{self.key}/hold"

    @property
    def place(self) -> Path:
        return self.directory / self.key.replace("/", "-")


def keyed(*arguments: str) -> Callable[[Case], list[str]]:
    """A command that changes something, under the key of its case."""
    return lambda case: [*arguments, "--key", case.key]


def on_hold(*arguments: str) -> Callable[[Case], list[str]]:
    """A command on the hold of its case."""
    return lambda case: [*arguments, "--reservation-key", case.hold, "--key", case.key]


def on_entity(case: Case) -> list[str]:
    """A command on the entity of its case, which has the name of its key."""
    return [case.key, "--key", case.key]


def offline(*arguments: str) -> Callable[[Case], list[str]]:
    """A command that calls no server."""
    return lambda _: list(arguments)


WRITES: dict[str, Callable[[Case], list[str]]] = {
    "reserve": keyed(LINE),
    "allocate": lambda case: [*on_hold()(case), "--order-ref", case.key],
    "release": on_hold(),
    "fulfill": on_hold(),
    "extend": on_hold("--ttl-s", "900"),
    "amend": on_hold(f"{LINE}=2"),
    "transfer": on_hold("--to", "lyon"),
    "stock receive": keyed(f"{LINE}=1"),
    "stock return": keyed(f"{LINE}=1"),
    "stock adjust": keyed(f"{LINE}=1"),
    "stock set": keyed(f"{SKU}@lyon=7"),
    "stock count": keyed(f"{SKU}@lyon=7"),
    "stock move": keyed(f"{LINE}=1", "--to", "damaged"),
    "catalogue items add": keyed(SKU),
    "catalogue locations add": keyed("berlin"),
    "catalogue channels add": keyed("web"),
    "catalogue items delete": on_entity,
    "catalogue locations delete": on_entity,
    "policies location-groups add": keyed("west", "berlin", "lyon"),
    "policies location-groups delete": on_entity,
    "stock-transfers ship": lambda case: [*on_entity(case), f"{SKU}=1", "--from", "berlin", "--to", "lyon"],
    "stock-transfers receive": lambda case: [*on_entity(case), "--whole"],
    "stock-transfers close": lambda case: [*on_entity(case), "--remainder", "lost"],
    "stock-transfers delete": on_entity,
    "sources register": lambda case: [case.key, "--key", case.key],
    "sources skip-gap": lambda case: [case.key, "--through", "2", "--key", case.key],
    "sources discard": lambda case: [*(case.key, str(LETTERS[case.key]), "--reason-code", "typo", "--key", case.key)],
    "sources profile add": keyed("erp", "--kind", "erp"),
    "sources profile delete": on_entity,
    # No command needs this right.
    "authority add": keyed("rule", "--right", "order", "--operator"),
    "authority delete": on_entity,
    "events consumers add": keyed("feed", str(JournalPosition.start("main"))),
    "events consumers delete": on_entity,
}
LETTERS: dict[str, int] = {}
"""Dead letters of a case, by its key, which is the name of their source."""
READS: dict[str, Callable[[Case], list[str]]] = {
    "availability": offline(SKU),
    "status": offline(),
    "snapshot": offline(),
    "stock show": offline(SKU, "berlin"),
    "stock list": offline(),
    "stock at": offline("--sequence", "1"),
    "stock history": offline(f"{SKU}@berlin"),
    "explain": offline(f"{SKU}@berlin"),
    "reservation": lambda case: ["--reservation-key", case.hold],
    "holds": offline(),
    "outcome": lambda case: [case.hold],
    "events tail": offline("--from", "1", "--limit", "20"),
    "catalogue items list": offline(),
    "catalogue locations list": offline(),
    "catalogue channels list": offline(),
    "policies location-groups list": offline(),
    "policies location-groups show": offline("west"),
    "sources list": offline(),
    "sources claims": offline(),
    "sources parked": offline("shown"),
    "sources waiting": offline("shown"),
    "sources dead-letters": offline("shown"),
    "sources redrive": offline("shown", "--all", "--dry-run"),
    "sources record": lambda case: [str(case.directory / "messages.jsonl")],
    "sources profile list": offline(),
    "sources profile show": offline("west"),
    "authority list": offline(),
    "authority show": offline("west"),
    "authority owners": offline(),
    "authority preset": offline("erp-wms-pos", "--dry-run"),
    "stock-transfers list": offline(),
    "stock-transfers show": offline("shown"),
    "events consumers list": offline(),
    "events consumers show": offline("feed"),
    "catalogue items export": offline(),
    "catalogue locations export": offline(),
    "catalogue channels export": offline(),
    "stock export": offline(),
    "orders export": offline(),
    "catalogue items import": lambda case: [str(case.directory / "items.csv")],
    "catalogue locations import": lambda case: [str(case.directory / "locations.csv")],
    "catalogue channels import": lambda case: [str(case.directory / "channels.csv")],
    "stock import": lambda case: [str(case.directory / "stock.csv")],
    "orders import": lambda case: [str(case.directory / "orders.csv")],
}
OFFLINE: dict[str, Callable[[Case], list[str]]] = {
    "version": offline(),
    "config show": offline(),
    "doctor": lambda case: ["--directory", str(case.place)],
    "verify": lambda case: [str(case.directory / "journal")],
    "backup create": lambda case: [str(case.place), "--directory", str(case.directory / "journal")],
    "backup restore": lambda case: [str(case.directory / "backup"), "--directory", str(case.place)],
    "bench": offline("--list"),
}
# On a stock transfer of its case.
UNDER_WAY = {"stock-transfers receive", "stock-transfers close", "stock-transfers delete"}
# What changes something without a key of its own.
KEYLESS = {
    "sources record",
    "catalogue items import",
    "catalogue locations import",
    "catalogue channels import",
    "stock import",
    "orders import",
    "snapshot",
    "backup create",
    "backup restore",
}
# These print when they are under way, and have tests of their own.
RUN_ON = {"serve", "dev", "simulate"}
TABLE = {**WRITES, **READS, **OFFLINE}
# What takes no --json prints for people only.
UNPRINTABLE = ("pipe", "full", "closed")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: bytes
    err: str


@contextmanager
def standard_output(kind: str) -> Iterator[int | IO[bytes]]:
    """What a process gets as its output."""
    if kind == "pipe":
        read, write = os.pipe()
        os.close(read)
        try:
            yield write
        finally:
            os.close(write)
    elif kind == "full":
        with Path("/dev/full").open("wb") as device:
            yield device
    else:
        yield subprocess.PIPE


def ended(arguments: list[str], output: str, *, errors: str = "") -> Ended:
    """Runs `invengine` as a process on this kind of output; `errors` is a shell's redirection of stderr."""
    close = ">&-" if output == "closed" else ""
    command = ["sh", "-c", f'exec "$@" {close} {errors}', "sh", sys.executable, "-m", "invengine.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    if output == "ascii":
        environment["PYTHONIOENCODING"] = "ascii"
    with standard_output(output) as out:
        ran = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, timeout=WAIT_S, check=False)
    return Ended(ran.returncode, ran.stdout or b"", ran.stderr.decode())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that commands read."""
    directory = tmp_path_factory.mktemp("outputs")
    for noun, column, name in (
        ("items", "sku", SKU),
        ("locations", "location", "lyon"),
        ("channels", "channel", "web"),
    ):
        (directory / f"{noun}.csv").write_text(f"{column}\n{name}\n", encoding="utf-8")
    (directory / "stock.csv").write_text(f"sku,location,quantity\n{SKU},paris,7\n", encoding="utf-8")
    (directory / "orders.csv").write_text(f"order_ref,sku,location,quantity\no-17,{SKU},berlin,1\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def target(directory: Path) -> Iterator[str]:
    """A server with one item, at two locations."""
    with process(*serve("native", directory / "journal")) as server:
        address = ready(server)["address"]
        with Client(address) as client:
            client.upsert_items([Item(SKU)])
            client.upsert_locations([Location("berlin"), Location("lyon"), Location("paris")])
            client.upsert_channels([Channel("web")])
            client.receive([(SKU, "berlin", 1000), (SKU, "lyon", 1000)])
            keep(client, "shown", directory / "messages.jsonl")
            client.ship_transfer("shown", [(SKU, 1)], from_location="berlin", to_location="lyon")
        copied = ended(
            ["backup", "create", str(directory / "backup"), "--directory", str(directory / "journal")], "pipe-open"
        )
        assert copied.code == ExitCode.OK, copied.err
        yield address


def keep(client: Client, source_id: str, file: Path | None = None) -> int:
    """A source with a letter that could be applied now, and messages that wait and are parked; returns the letter.

    The file gets them all.
    """
    epoch = client.register_source(source_id).epoch

    def named(number: int) -> dict[str, Any]:
        return {"key": f"{source_id}/{number}", "source": Position(source_id, epoch, number)}

    (level,) = client.list_levels(sku=SKU, location="berlin")
    drafts: list[Draft[Any]] = [
        messages.stock_adjusted([(SKU, "berlin", -level.on_hand - 1)], **named(1)),
        messages.goods_received([(SKU, "berlin", 5)], **named(3)),
    ]
    if file is not None:
        drafts.append(messages.transfer_received("later", whole=True, **named(2)))
        drafts.append(messages.goods_received([(SKU, "berlin", 5)], **named(5)))
        lines = [MessageToJson(recording.message_of(each), indent=None) for each in drafts]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcomes = client.record_messages(drafts)
    client.receive([(SKU, "berlin", 1)])
    assert outcomes[0].receipt is not None
    return outcomes[0].receipt.sequence


def played(output: str, directory: Path, target: str, *more: str) -> dict[str, Ended]:
    """Every command of the table on this output."""
    cases = [Case(command, output + "".join(more), directory) for command in TABLE]
    with Client(target) as client:
        names = [case.key for case in cases if TABLE[case.command] is on_entity]
        client.upsert_items([Item(name) for name in names])
        client.upsert_locations([Location(name) for name in names])
        client.upsert_location_groups([LocationGroup(name, ("berlin",)) for name in ("west", *names)])
        client.upsert_source_profiles([SourceProfile(name, SourceKind.OTHER) for name in ("west", *names)])
        order = (AuthorityRight.ORDER,)
        client.upsert_authority_rules([AuthorityRule(name, rights=order, operator=True) for name in ("west", *names)])
        start = JournalPosition.start("main")
        client.upsert_consumers([Consumer(name, start) for name in ("feed", *names)])
        for case in cases:
            client.reserve([(SKU, "berlin", 1)], key=case.hold)
            if case.command in ("sources skip-gap", "sources discard"):
                LETTERS[case.key] = keep(client, case.key)
            if case.command in UNDER_WAY:
                client.ship_transfer(case.key, [(SKU, 1)], from_location="berlin", to_location="lyon")
            if case.command == "stock-transfers delete":
                client.receive_transfer(case.key, whole=True)

    def play(case: Case) -> Ended:
        calls = [] if case.command in OFFLINE else ["--target", target]
        return ended([*case.command.split(), *TABLE[case.command](case), *calls, *more], output)

    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(TABLE, pool.map(play, cases), strict=True))
    with Client(target) as client:
        unknown = [case.command for case in cases if case.command in WRITES and not client.get_outcome(case.key).known]
    assert unknown == []
    return found


def test_every_command_is_in_the_table() -> None:
    assert {path.removeprefix("invengine ") for path in commands()} == TABLE.keys() | RUN_ON


@pytest.mark.parametrize("output", UNPRINTABLE)
def test_the_exit_code_is_right_if_nothing_can_be_printed(directory: Path, target: str, output: str) -> None:
    found = played(output, directory, target)
    assert {command: ran.code for command, ran in found.items() if ran.code != ExitCode.UNPRINTED} == {}
    for command, ran in found.items():
        lines = ran.err.splitlines()
        assert not any("Traceback" in line or "NoneType" in line or "Exception ignored" in line for line in lines), ran
        # A reader that has closed the pipe gets no message, unless the command changed something.
        changes = command in WRITES or command in KEYLESS
        assert len(lines) == (0 if output == "pipe" and not changes else 1), (command, lines)
        if changes:
            assert lines[0].startswith("invengine: the command is done, but its output could not be written")
        if command in WRITES:
            assert f"--key {Case(command, output, directory).key}" in lines[0]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_encoding_without_the_characters_loses_nothing(directory: Path, target: str, more: tuple[str, ...]) -> None:
    found = played("ascii", directory, target, *more)
    assert {command: (ran.code, ran.err) for command, ran in found.items() if ran.code} == {}
    for command, ran in found.items():
        # A file is in UTF-8 wherever it is written: an escape in it would be another name.
        text = ran.out.decode("utf-8" if command.endswith("export") else "ascii")
        if more:
            assert all(json.loads(line) for line in text.splitlines())
    shown = found["stock list"].out.decode("ascii")
    assert json.loads(shown.splitlines()[0])["sku"] == SKU if more else "M\\xdcG" in shown


@pytest.mark.parametrize("errors", ["", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize("output", UNPRINTABLE)
def test_a_refusal_and_a_failure_keep_their_codes(directory: Path, target: str, output: str, errors: str) -> None:
    refused = ended(["reserve", f"{LINE}=100000", "--target", target], output, errors=errors)
    assert refused.code == ExitCode.REJECTED
    nobody = ["reserve", LINE, "--target", "127.0.0.1:1", "--timeout-ms", "300"]
    assert ended(nobody, output, errors=errors).code == ExitCode.UNAVAILABLE
    assert ended(["reserve", "MUG"], output, errors=errors).code == ExitCode.USAGE
    assert ended(["reserve", LINE, "--target", target], "open", errors=errors).code == ExitCode.OK
    damaged = directory / "damaged"
    if not damaged.exists():
        damaged.mkdir()
        (file,) = (directory / "journal").glob("journal-*")
        content = bytearray(file.read_bytes())
        content[4096 + 40] ^= 0xFF
        (damaged / file.name).write_bytes(content)
    assert ended(["verify", str(damaged)], output, errors=errors).code == ExitCode.CORRUPT


@pytest.mark.parametrize("errors", ["", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize("output", UNPRINTABLE)
@pytest.mark.parametrize("kind", ["serve", "dev"])
def test_a_server_without_readers_of_its_output_serves(tmp_path: Path, output: str, errors: str, kind: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    arguments = [kind, "--address", address, "--metrics-address", ""]
    arguments += ["--directory", str(tmp_path / "journal")] if kind == "serve" else []
    close = ">&-" if output == "closed" else ""
    command = ["sh", "-c", f'exec "$@" {close} {errors}', "sh", sys.executable, "-m", "invengine.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        standard_output(output) as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=environment) as server,
    ):
        try:
            with Client(address, timeout_s=WAIT_S) as client:
                client.upsert_items([Item(SKU)])
                assert [item.sku for item in client.list_items()][-1] == SKU
            server.send_signal(signal.SIGTERM)
            assert server.wait(WAIT_S) == ExitCode.OK
        finally:
            server.kill()


def test_a_closed_descriptor_is_not_reused_by_a_journal(tmp_path: Path, directory: Path, target: str) -> None:
    """Whatever a library prints to descriptor 1 must not land in a file or a connection that was opened there."""
    program = (
        "import os, sys\n"
        "from invengine.cli import main\n"
        "code = main()\n"
        "os._exit(code if os.readlink('/proc/self/fd/1') == '/dev/null' else 99)\n"
    )
    command = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", sys.executable, "-c", program, "status", "--target", target]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, timeout=WAIT_S, check=False).returncode == ExitCode.UNPRINTED


def test_an_interrupted_command_names_its_key(target: str) -> None:
    """A server that does not answer: an interrupted caller learns how to find out what happened."""
    with Client(target) as client:
        client.server_info()
    silent = ["reserve", LINE, "--target", "127.0.0.1:1", "--timeout-ms", "60000", "--key", "order-7"]
    # A test run in the background of a shell ignores the signal, and its children would too.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    with process(*silent) as started:
        signal.signal(signal.SIGINT, inherited)
        os.kill(started.pid, 0)
        # It repeats until its deadline; a moment is enough to be past its imports.
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(3)
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=WAIT_S)
        assert started.returncode == ExitCode.INTERRUPTED
        assert "--key order-7" in err


def test_a_ready_file_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    arguments = ["serve", "--directory", str(tmp_path / "journal"), "--address", "127.0.0.1:0", "--metrics-address", ""]
    ran = ended([*arguments, "--ready-file", str(tmp_path / "absent" / "ready")], "open")
    assert ran.code == ExitCode.USAGE, ran
    assert "--ready-file" in ran.err
