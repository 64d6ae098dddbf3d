"""Mistakes end as one line on stderr and a documented exit code; the tree of commands is documented."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invengine.cli.app import COMMANDS, every_command
from invengine.cli.calls import CallSettings, call_settings
from invengine.cli.exits import MEANINGS, ExitCode
from invengine.settings import Settings, SettingsError, load

from .scripted import CommandLine

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reserve"], "LINE"),
        (["reserve", "MUG"], "SKU@LOCATION=QUANTITY"),
        (["reserve", "MUG@berlin=two"], "whole number"),
        (["stock", "receive", "MUG@berlin"], "needs a quantity"),
        (["release"], "RESERVATION_ID"),
        (["release", "--order", "o", "--reservation-key", "k"], "not by both"),
        (["frobnicate"], "frobnicate"),
        (["status", "--nope"], "--nope"),
        (["serve", "--journal", "tape"], "tape"),
        (["serve", "--address", "0.0.0.0:7411"], "--insecure"),
        (["serve", "--address", "7411"], "HOST:PORT"),
        (["serve", "--threads", "0"], "threads (flag --threads)"),
        (["status", "--timeout-ms", "1_000.5"], "--timeout-ms"),
        (["status", "--timeout-ms", "9" * 30], "timeout_ms"),
        (["status", "--timeout-ms", str(365 * 24 * 3_600_000 + 1)], "less than or equal to 31536000000"),
        (["status", "--timeout-ms", "0"], "timeout_ms"),
        (["reserve", "MUG@berlin", "--ttl-s", "nan"], "ttl_s"),
        (["reserve", "MUG@berlin", "--ttl-s", "inf"], "ttl_s"),
        (["reserve", "MUG@berlin", "--ttl-s", "soon"], "--ttl-s"),
        (["events", "tail", "--limit", "-1"], "--limit"),
        (["verify", "nowhere"], "not a directory"),
        (["--config", "absent.toml", "config", "show"], "absent.toml"),
    ],
)
def test_a_usage_error_is_one_line_and_code_2(line: CommandLine, arguments: list[str], words: str) -> None:
    ran = line.run(*arguments)
    assert ran.code == ExitCode.USAGE, ran
    (text,) = ran.err.splitlines()
    assert text.startswith("invengine: ")
    assert words in text


ODD = [["reserve", "m\udcff@lyon=1"], ["outcome", "k\udcff"], ["verify", "d\udcff"], ["serve", "--ledger", "\udce4"]]
ODD += [["release", "--order", "k\udcff"], ["--config", "\udcff.toml", "config", "show"], ["frob\udcff"], ["\ud83d"]]


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("arguments", ODD)
def test_an_argument_that_is_no_text_is_bad_usage(line: CommandLine, arguments: list[str], more: list[str]) -> None:
    ran = line.run(*arguments, *more)
    assert ran.code == ExitCode.USAGE, ran
    (text,) = ran.err.splitlines()
    (at,) = [number for number, each in enumerate(arguments, 1) if not each.isascii()]
    assert f"argument {at} is no text: " in text
    assert "write it in UTF-8" in text


def test_no_command_sees_an_argument_that_is_no_text(line: CommandLine) -> None:
    for command in commands():
        ran = line.run(*command.removeprefix("invengine ").split(), "x\udcff")
        assert ran.code == ExitCode.USAGE, (command, ran)
        assert "is no text: x\\xff;" in ran.err


@pytest.mark.parametrize("arguments", [["status"], ["config", "show"], ["reserve", "MUG@berlin"]])
def test_a_variable_that_is_no_text_is_bad_usage(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("INVENGINE_CHANNEL", "web\udcff")
    ran = line.run(*arguments)
    assert ran.code == ExitCode.USAGE, ran
    assert "channel (environment INVENGINE_CHANNEL) is no text" in ran.err


def test_no_server_is_code_3_with_how_to_start_one(line: CommandLine) -> None:
    ran = line.run("status", "--target", "127.0.0.1:1", "--timeout-ms", "500")
    assert ran.code == ExitCode.UNAVAILABLE
    (text,) = ran.err.splitlines()
    assert "invengine serve" in text


def test_config_show_prints_value_and_origin(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "invengine.toml").write_text("threads = 2\n")
    monkeypatch.setenv("INVENGINE_LEDGER", "eu")
    found = {each["name"]: each for each in line.run("config", "show", "--json").objects}
    assert (found["threads"]["value"], found["threads"]["origin"]) == (2, "file invengine.toml")
    assert (found["ledger"]["value"], found["ledger"]["origin"]) == ("eu", "environment INVENGINE_LEDGER")
    assert (found["door"]["value"], found["door"]["origin"]) == ("native", "default")


def test_config_show_hides_passwords(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "invengine.toml").write_text('redis_url = "rediss://app:s3cr@et@cache.example:6380/1"\n')
    monkeypatch.setenv("INVENGINE_REDIS_PASSWORD", "s3cr@et")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        ran = line.run(*arguments)
        assert "s3cr" not in ran.out + ran.err
        assert "et@" not in ran.out
    found = {each["name"]: each for each in line.run("config", "show", "--json").objects}
    assert found["redis_url"]["value"] == "rediss://app:***@cache.example:6380/1"
    assert (found["redis_password"]["value"], found["redis_username"]["value"]) == ("***", "")
    (tmp_path / "invengine.toml").write_text("redis_password = 12345678\n")
    monkeypatch.delenv("INVENGINE_REDIS_PASSWORD")
    ran = line.run("config", "show")
    assert ran.code == ExitCode.USAGE
    assert "redis_password" in ran.err
    assert "12345678" not in ran.err


def test_dev_does_not_touch_a_redis(line: CommandLine) -> None:
    ran = line.run("dev", "--journal", "redis")
    assert ran.code == ExitCode.USAGE
    assert "invengine serve --journal redis" in ran.err


def test_version_needs_nothing(line: CommandLine) -> None:
    (found,) = line.run("version", "--json").objects
    assert set(found) == {"invengine", "core"}


def test_every_exit_code_is_in_the_help_and_the_docs(line: CommandLine) -> None:
    text = " ".join(line.run("--help").out.replace("│", " ").split())
    page = (DOCS / "cli.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} {meaning}" in text
        assert f"| {int(code)} | {meaning}" in page


def commands() -> list[str]:
    """Every command that can be called."""
    return [f"invengine {words}" for words, _ in every_command() if words.split()[0] not in ("simulate", "bench")] + [
        "invengine simulate",
        "invengine bench",
    ]


def test_the_commands_of_the_contract_are_there() -> None:
    names = {path.split()[1] for path in commands()}
    assert names >= {"serve", "dev", "catalogue", "stock", "reserve", "allocate", "release", "fulfill", "extend"}
    assert names >= {"availability", "events", "status", "verify", "simulate", "bench", "config", "version"}


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("path", commands())
def test_a_command_is_documented_and_has_help(line: CommandLine, path: str, flag: str) -> None:
    assert f"`{path}" in (DOCS / "cli.md").read_text()
    ran = line.run(*path.split()[1:], flag)
    assert ran.code == 0
    assert "--json" in ran.out or path == "invengine simulate"


def test_the_documents_name_no_command_that_is_not_there() -> None:
    words = {path for path, _ in every_command()}
    groups = {word.rpartition(" ")[0] for word in words} | set(COMMANDS)
    word = r"[a-z]+(?:-[a-z]+)*"
    named = re.findall(rf"`invengine ({word}(?: {word})*)", (DOCS / "cli.md").read_text())
    # The ready line of a server begins like a command.
    assert [name for name in named if name not in words | groups and name != "ready on"] == []


def test_the_version_is_printed_by_a_flag(line: CommandLine) -> None:
    ran = line.run("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("invengine ")


HEAVY = (
    *("rich", "pydantic", "pydantic_settings", "structlog", "prometheus_client", "pandas", "matplotlib", "asyncio"),
    *("grpc", "google.protobuf", "invengine.client", "invengine.service", "invengine.settings", "invengine._core"),
    *("invengine.client.asynchronous", "invengine.client.source_async", "invengine.client.fold"),
    *("invengine.client.columns", "invengine.client.results.catalogue", "invengine.v1.catalog_service_pb2"),
    "google.rpc",
)
# A call needs a client and, through grpc, asyncio; it needs nothing of a server.
OF_A_CALL = {"grpc", "google.protobuf", "invengine.client", "asyncio"}


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--version"], set()),
        (["--help"], set()),
        (["-h"], set()),
        (["frobnicate"], set()),
        (["availability", "MUG", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["reserve", "MUG@berlin=2", "--key", "k", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["release", "--reservation-key", "k", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["stock", "show", "MUG@berlin", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["stock", "set", "MUG@berlin=2", "--expected", "1", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["policies", "location-groups", "add", "west", "berlin", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["holds", "--holder", "ann", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["reservation", "--order", "o", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["outcome", "k", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["events", "tail", "--from", "2", "--kind", "reserved", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["stock", "receive", "MUG@berlin=2", "--state", "damaged", "--target", "127.0.0.1:1"], OF_A_CALL),
        (["reserve", "MUG@berlin", "--ttl-s", "1.5", "--timeout-ms", "100", "--target", "127.0.0.1:1"], OF_A_CALL),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], needed: set[str]) -> None:
    """Start-up time is imports: which are loaded is the same on every machine."""
    program = (
        "import json, sys\n"
        "from invengine.cli import main\n"
        "main(sys.argv[2:])\n"
        "print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))\n"
    )
    command = [sys.executable, "-c", program, json.dumps(HEAVY), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "INVENGINE_TIMEOUT_MS": "200"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert set(json.loads(ran.stdout.splitlines()[-1])) == needed


SETTINGS_OF_CALLS: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
    ({}, {}),
    ({}, {"target": "a:1", "channel": "web"}),
    ({"INVENGINE_TARGET": "b:2", "INVENGINE_TIMEOUT_MS": "77"}, {}),
    ({"invengine_channel": "app", "INVENGINE_TARGET": "b:2"}, {"target": "c:3", "timeout_ms": 5}),
    ({"INVENGINE_TIMEOUT_MS": "7.5"}, {}),
    ({"INVENGINE_TIMEOUT_MS": "0"}, {}),
    ({"INVENGINE_TIMEOUT_MS": "600001"}, {}),
    ({"INVENGINE_TIMEOUT_MS": " 12 "}, {}),
    ({"INVENGINE_TIMEOUT_MS": ""}, {}),
    ({"INVENGINE_TIMEOUT_MS": "bad"}, {"timeout_ms": 9}),
    ({}, {"timeout_ms": -1}),
    ({"INVENGINE_CHANNEL": "", "INVENGINE_TARGET": ""}, {}),
    ({"INVENGINE_THREADS": "0"}, {"target": "a:1"}),
    ({"INVENGINE_CONFIG": "absent.toml"}, {}),
)


@pytest.mark.parametrize(("variables", "flags"), SETTINGS_OF_CALLS)
def test_the_short_way_to_the_settings_of_a_call_gives_what_the_long_one_gives(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], flags: dict[str, Any]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def long() -> CallSettings:
        found = load(flags, None).settings
        return CallSettings(found.target, found.timeout_ms, found.channel)

    def said(settings: Callable[[], CallSettings]) -> CallSettings | str:
        try:
            return settings()
        except SettingsError as error:
            return str(error)

    assert said(lambda: call_settings(None, **flags)) == said(long)


def test_the_defaults_of_a_call_are_those_of_the_settings() -> None:
    fields = Settings.model_fields
    assert CallSettings()._asdict() == {name: fields[name].default for name in CallSettings._fields}


def defaults_shown(line: CommandLine, command: str) -> dict[str, str]:
    """The flags of a command and the defaults that its help names."""
    text = line.run(command, "--help").out
    flags = re.split(r"\n  (?=--|-)", text)[1:]
    found = {}
    for flag in flags:
        default = re.search(r"\[default: (.*?)\]", " ".join(flag.split()))
        if default:
            found[re.split(r"[ /]", flag)[0]] = default[1]
    return found


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_the_help_of_a_server_names_the_defaults_in_force(line: CommandLine, command: str) -> None:
    shown = defaults_shown(line, command)
    assert shown["--threads"] == "1"
    assert shown["--time-scale"] == "1.0"
    assert shown["--drain-timeout-ms"] == "10000"
    for row in line.run("config", "show", "--json").objects:
        flag = f"--{row['name'].replace('_', '-')}"
        if flag in shown:
            words = {"True": "yes", "False": "no", "": "empty"}.get(str(row["value"]), str(row["value"]))
            assert shown[flag] == words, flag
    assert len(shown) >= 12


def test_the_help_of_dev_names_its_own_defaults(line: CommandLine) -> None:
    shown = defaults_shown(line, "dev")
    assert (shown["--journal"], shown["--metrics-address"]) == ("memory", "empty")


@pytest.mark.parametrize("path", ["", "stock", "events"])
def test_a_group_without_a_command_shows_its_help(line: CommandLine, path: str) -> None:
    ran = line.run(*path.split())
    assert (ran.code, ran.err) == (ExitCode.USAGE, "")
    assert "Commands:" in ran.out


GROUPS = (
    *("", "stock", "orders", "catalogue", "catalogue items", "policies", "policies location-groups"),
    *("sources", "sources profile", "authority"),
    *("events", "backup", "config", "simulate"),
)


@pytest.mark.parametrize("path", [*GROUPS, *(words for words, _ in every_command())])
def test_help_at_80_columns_cuts_no_name(line: CommandLine, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = line.run(*path.split(), "--help")
    assert ran.code == 0
    assert "…" not in ran.out
    # The first paragraph is the usage, whose last argument may be repeated.
    assert not any(text.endswith("...") for text in ran.out.partition("\n\n")[2].splitlines())


def test_a_client_only_install_imports_none_of_the_servers_packages() -> None:
    """Fact: a checkout service installs the client; typer, rich and pydantic are not its business."""
    program = (
        "import sys\n"
        "for name in ('typer', 'rich', 'pydantic', 'pydantic_settings', 'structlog', 'prometheus_client',"
        " 'grpc_health', 'grpc_reflection'):\n"
        "    sys.modules[name] = None\n"
        "import invengine.client, invengine.errors\n"
        "from invengine.cli import main\n"
        "sys.exit(main(['version']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 2
    assert ran.stderr.strip().endswith("pip install 'invengine[server]'`")
