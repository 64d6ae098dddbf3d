"""Mistakes end as one line on stderr and a documented exit code; the tree of commands is documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from invengine.cli.app import app
from invengine.cli.exits import MEANINGS, ExitCode

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
        (["verify", "nowhere"], "not a directory"),
        (["--config", "absent.toml", "config", "show"], "absent.toml"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(line: CommandLine, arguments: list[str], words: str) -> None:
    ran = line.run(*arguments)
    assert ran.code == ExitCode.USAGE, ran
    (text,) = ran.err.splitlines()
    assert text.startswith("invengine: ")
    assert words in text


def test_nobody_there_is_code_3_and_says_how_to_start_one(line: CommandLine) -> None:
    ran = line.run("status", "--target", "127.0.0.1:1", "--timeout-ms", "500")
    assert ran.code == ExitCode.UNAVAILABLE
    (text,) = ran.err.splitlines()
    assert "invengine serve" in text


def test_config_show_tells_value_and_origin(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    found: list[str] = []

    def walk(group: object, path: str) -> None:
        children = getattr(group, "commands", None)
        if children is None:
            found.append(path)
            return
        for name, child in children.items():
            walk(child, f"{path} {name}")

    walk(typer.main.get_command(app), "invengine")
    return found


def test_the_commands_of_the_contract_are_there() -> None:
    names = {path.split()[1] for path in commands()}
    assert names >= {"serve", "dev", "catalogue", "stock", "reserve", "allocate", "release", "fulfill", "extend"}
    assert names >= {"availability", "events", "status", "verify", "simulate", "bench", "config", "version"}


@pytest.mark.parametrize("path", commands())
def test_a_command_is_documented_and_has_help(line: CommandLine, path: str) -> None:
    assert f"`{path}" in (DOCS / "cli.md").read_text()
    if path not in ("invengine simulate", "invengine bench"):
        ran = line.run(*path.split()[1:], "--help")
        assert ran.code == 0
        assert "--json" in ran.out


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
