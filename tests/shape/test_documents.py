"""Everything that the documents tell people to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from invengine.cli.app import loaded, tree
from invengine.cli.exits import MEANINGS
from invengine.client import MessageDisposition, commands, messages

from .tree import ROOT, Block, blocks, text_of, written

LINK = re.compile(r"\]\((?!https?://|#)(?P<path>[^)#]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def _typed(program: str) -> list[tuple[Block, list[str]]]:
    found = []
    for block in blocks("sh", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0].rpartition("/")[2] == program:
                found.append((block, words[1:]))
    return found


@pytest.mark.parametrize(("block", "words"), _typed("make"), ids=str)
def test_make_targets_of_the_documents_exist(block: Block, words: list[str]) -> None:
    targets = set(TARGET.findall(text_of("Makefile")))
    assert {word for word in words if "=" not in word} - targets == set(), str(block)


def _walk(words: list[str]) -> Iterator[str]:
    """What is wrong with one command line of invengine; nothing if every command and flag of it exists."""
    command: Any = tree()
    words = list(words)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        name = words.pop(0)
        if name not in command.commands:
            yield f"no command {name}"
            return
        command = loaded(name) if command.name == "invengine" else command.commands[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("-") and word.partition("=")[0] not in options | {"--help", "-h"}:
            yield f"no option {word}"


@pytest.mark.parametrize(("block", "words"), _typed("invengine"), ids=str)
def test_commands_of_the_documents_exist(block: Block, words: list[str]) -> None:
    assert list(_walk(words)) == [], str(block)


@pytest.mark.parametrize("name", written(".md"))
def test_links_of_the_documents_lead_somewhere(name: str) -> None:
    here = (ROOT / name).parent
    assert [path for path in LINK.findall(text_of(name)) if not (here / path).exists()] == []


def test_every_make_target_says_what_it_does() -> None:
    listed = re.search(r"^\.PHONY: (.+?)$", text_of("Makefile").replace("\\\n", " "), re.MULTILINE)
    assert listed is not None
    parts = {"lint-rust", "lint-python", "lint-protos"}
    described = set(re.findall(r"^([a-z-]+):.*## .+$", text_of("Makefile"), re.MULTILINE))
    assert set(listed[1].split()) - parts == described


def test_the_page_of_messages_has_the_messages_of_the_contract() -> None:
    """Each with the command that the client makes it of, and with what it can wait for."""
    rows = re.findall(r"^\| `(\w+)` \| .+ \| `(\w+)` \| (.+) \|$", text_of("docs/messages.md"), re.MULTILINE)
    proto = text_of("protos/invengine/v1/inventory_service.proto")
    body = re.search(r"^message SourceMessage \{(.+?)^\}", proto, re.MULTILINE | re.DOTALL)
    assert body is not None
    declared = re.findall(r"((?: +//.+\n)+) +\w+ (\w+) = \d+;", body[1])
    assert [name for name, _, _ in rows] == [name for _, name in declared]
    for (name, command, waits), (comment, _) in zip(rows, declared, strict=True):
        assert getattr(messages, name) is getattr(commands, command), name
        assert (waits != "–") is ("Waits for" in comment), name
    assert {name for name, _, _ in rows} == set(messages.__all__)


def test_the_page_of_messages_has_every_disposition() -> None:
    page = text_of("docs/messages.md")
    assert [each.name for each in MessageDisposition if each and f"\n| `{each.name}` |" not in page] == []


def test_the_readme_lists_every_method_that_is_not_there_yet() -> None:
    promised = {}
    for name in written("_service.proto"):
        text = text_of(name)
        service = re.search(r"^service (\w+)", text, re.MULTILINE)
        assert service is not None, name
        absent = re.findall(r"Answers UNIMPLEMENTED in this version\.\n  rpc (\w+)", text)
        if absent:
            promised[service[1]] = absent
    rows = re.findall(r"^\| (\w+Service) \| ([^|:]+)", text_of("README.md"), re.MULTILINE)
    assert {service: methods.strip().split(", ") for service, methods in rows} == promised


def test_the_exit_codes_of_the_documents_are_those_of_the_command_line() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", text_of("docs/cli.md"), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == {int(code): words for code, words in MEANINGS.items()}
