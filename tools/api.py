"""Writes docs/api.md, the reference of Python and of the wire contract, from docstrings and comments.

`--check` writes nothing and fails if the committed page is not what the sources say. An argument, a method, a field or
an event that says nothing about itself is an error: what this page lacks is written at its source.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
sys.path.insert(0, str(ROOT / "python"))
sys.path.insert(0, str(ROOT))

from tools.api_contract import contract, events  # noqa: E402

from invengine import client, errors  # noqa: E402
from invengine.client import commands, draft, methods, results, source_async, source_blocking  # noqa: E402

HEAD = """# Reference

Written by `make docs` from the docstrings and the protos; change it there. [The client](client.md) explains, this page
lists:
[clients](#clients) · [arguments](#arguments) · [drafts](#drafts) · [values](#values) ·
[following events](#following-events) · [errors](#errors) · [events](#events) ·
[the engine in process](#the-engine-in-process) · [the contract](#the-contract)
"""
# A line of a docstring that explains arguments: `name: text` or `name, name: text`, up to the next one.
ENTRY = re.compile(r"^(?P<names>[a-z_]+(?:, [a-z_]+)*): (?P<text>.*(?:\n {2,}\S.*)*)", re.MULTILINE)
CODES = {
    3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED",
    13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip


class Words:
    """An annotation that is shown as it was written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Silent(Exception):
    """Something public has no documentation."""


def doc_of(thing: Any, name: str) -> str:
    """The docstring without the entries of arguments."""
    text = inspect.cleandoc(thing.__doc__ or "")
    if not text:
        raise Silent(f"{name} has no docstring")
    return re.sub(r"\n{3,}", "\n\n", ENTRY.sub("", text)).strip()


def entries(thing: Any) -> dict[str, str]:
    """The explanations of arguments in a docstring, by name."""
    found = {}
    for match in ENTRY.finditer(inspect.cleandoc(thing.__doc__ or "")):
        for name in match["names"].split(", "):
            found[name] = " ".join(match["text"].split())
    return found


def public(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, those of its bases first, each in the order of its source."""
    seen: set[str] = set()
    for base in reversed(kind.__mro__):
        for name in vars(base):
            thing = getattr(kind, name)
            if not name.startswith("_") and name not in seen and is_written(thing):
                seen.add(name)
                yield name, thing


def is_written(thing: Any) -> bool:
    """True for what has a docstring of its own: functions, properties, class methods."""
    return inspect.isroutine(thing) or isinstance(thing, property)


def signature(name: str, thing: Any) -> str:
    """One line of code; without self."""
    found = inspect.signature(thing)
    arguments = [
        each.replace(annotation=Words(str(each.annotation)))
        for each in found.parameters.values()
        if each.name not in ("self", "cls")
    ]
    answer = Words("" if isinstance(thing, type) else str(found.return_annotation))
    return f"{name}{found.replace(parameters=arguments, return_annotation=answer)}".removesuffix(" -> ")


def needed(thing: Any) -> list[str]:
    """The names of the arguments that need an explanation."""
    found = inspect.signature(thing).parameters.values()
    return [each.name for each in found if each.name not in ("self", "cls") and each.kind is not each.VAR_KEYWORD]


def section(title: str, text: str, level: int = 2) -> str:
    """A heading and its text."""
    return f"\n{'#' * level} {title}\n\n{text.strip()}\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def method(name: str, thing: Any, known: dict[str, str]) -> str:
    """One method: its signature, its description, and the meaning of its own arguments."""
    if isinstance(thing, property):
        return f"\n**`{name}`**: {doc_of(thing, name)}\n"
    own = entries(thing)
    silent = [each for each in needed(thing) if each not in own and each not in known]
    if silent:
        raise Silent(f"{thing.__qualname__}: no words for {', '.join(silent)}")
    text = f"\n#### {name}\n\n```python\n{signature(name, thing)}\n```\n\n{doc_of(thing, name)}\n"
    return text + "".join(f"\n- `{each}`: {words}" for each, words in own.items()) + ("\n" if own else "")


def clients() -> str:
    """Both clients: every method once, since they offer the same."""
    of_commands = entries(methods.Commands) | entries(draft.CommandFields)
    of_clients = entries(client.Client) | entries(client.AsyncClient)
    text = section("Clients", "")
    for kind in (client.Client, client.AsyncClient):
        text += section(
            kind.__name__, f"```python\n{signature(kind.__name__, kind)}\n```\n\n{doc_of(kind, kind.__name__)}", 3
        )
        missing = [each for each in needed(kind) if each not in of_clients]
        if missing:
            raise Silent(f"{kind.__name__}: no words for {', '.join(missing)}")
    text += section(
        "Methods",
        "`Client` and `AsyncClient` have the same methods, and so have an operation and a source for commands. With an "
        "`AsyncClient` await what gives a value (`source` too), and go through an iterator with `async for`.",
        3,
    )
    for name, thing in public(client.Client):
        text += method(name, thing, of_commands | of_clients)
    others: tuple[type, ...] = (client.Operation, source_blocking.OrderedSource, source_async.AsyncSource)
    for other in others:
        text += section(other.__name__, doc_of(other, other.__name__), 3)
        for name, thing in vars(other).items():
            if isinstance(thing, property):
                text += method(name, thing, {})
    text += section("Arguments", f"{doc_of(draft.CommandFields, 'CommandFields')} Of commands:")
    text += glossary(of_commands)
    return text + "\nOf clients, reads, batches, operations and sources:\n" + glossary(of_clients)


def glossary(words: dict[str, str]) -> str:
    """The meaning of arguments, by name."""
    rows: list[tuple[str, ...]] = [(f"`{name}`", text) for name, text in sorted(words.items())]
    return "\n" + table(("argument", "meaning"), rows) + "\n"


def followers() -> str:
    """What a follower of events keeps."""
    text = section("Following events", "What a reader of events keeps: where it is, and a copy of the stock.")
    for kind in (client.JournalPosition, client.StockFold):
        text += section(kind.__name__, doc_of(kind, kind.__name__), 3)
        for name, thing in public(kind):
            text += method(name, thing, entries(kind))
    return text


def drafts() -> str:
    """The functions that make drafts."""
    names = [name for name in CALLS if hasattr(commands, name)]
    text = section("Drafts", doc_of(commands, "commands"))
    rows: list[tuple[str, ...]] = [
        (f"`commands.{name}`", " ".join(doc_of(getattr(commands, name), name).split())) for name in names
    ]
    return text + "\n" + table(("draft", "what it asks for"), rows) + "\n"


CALLS = [name for kind in (methods.Commands, methods.ClientCommands) for name, _ in public(kind) if name != "send"]


def values() -> str:
    """The classes of `invengine.client` that are values."""
    text = section("Values", doc_of(results, "results"))
    for name in client.__all__:
        kind = getattr(client, name)
        if not kind.__module__.startswith((results.__name__, "invengine.client.columns")) or not isinstance(kind, type):
            continue
        text += section(name, doc_of(kind, name), 3)
        members = getattr(kind, "__members__", None)
        if members is not None:
            text += "\n" + ", ".join(f"`{each}` ({int(value)})" for each, value in members.items()) + "\n"
            continue
        annotations = inspect.get_annotations(kind)
        text += "".join(f"\n- `{field}: {annotation}`" for field, annotation in annotations.items()) + "\n"
        for member, thing in vars(kind).items():
            if isinstance(thing, property) and not member.startswith("_"):
                text += f"\n**`{member}`** (`{thing.fget.__annotations__.get('return')}`): {doc_of(thing, member)}\n"
    return text


def failures(kind: type[errors.InvengineError] = errors.InvengineError, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """A row for each error, in the order of the tree."""
    reason = kind.default_reason if "default_reason" in vars(kind) else ""
    flags = [name for name in ("retryable", "outcome_unknown") if getattr(kind, name)]
    own = [name for name, thing in vars(kind).items() if isinstance(thing, property)]
    words = " ".join(doc_of(kind, kind.__name__).split())
    words += f" Attributes: {', '.join(f'`{name}`' for name in own)}." if own else ""
    code = CODES[kind.default_code] if reason else ""
    indent = "&nbsp;" * 3 * depth
    yield f"{indent}`{kind.__name__}`", f"`{reason}`" if reason else "", code, ", ".join(flags), words
    for child in kind.__subclasses__():
        yield from failures(child, depth + 1)


def engine() -> str:
    """The engine in process, from its stub."""
    module = ast.parse((ROOT / "python" / "invengine" / "_core.pyi").read_text(encoding="utf-8"))
    text = section("The engine in process", ast.get_docstring(module) or "")
    for node in module.body:
        if not isinstance(node, ast.ClassDef) or node.name in ("Door", "OutcomeReader"):
            continue
        text += section(node.name, ast.get_docstring(node) or "", 3)
        for member in node.body:
            if isinstance(member, ast.FunctionDef):
                words = ast.get_docstring(member)
                if not words:
                    raise Silent(f"{node.name}.{member.name} has no docstring")
                arguments = ast.unparse(member.args).removeprefix("self, ").removeprefix("self")
                code = f"{member.name}({arguments}) -> {ast.unparse(member.returns) if member.returns else 'None'}"
                text += f"\n#### {member.name}\n\n```python\n{code}\n```\n\n{words}\n"
    return text


def page() -> str:
    """The whole page."""
    head = ("error", "reason", "code", "", "what it says")
    parts = [
        HEAD,
        clients(),
        drafts(),
        values(),
        followers(),
        section("Errors", "Of `invengine.errors`. " + doc_of(errors.InvengineError, "InvengineError")),
        "\n" + table(head, list(failures())) + "\n",
        section("Events", doc_of(results.Event, "Event")) + events(section, table),
        engine(),
        section("The contract", "Package `invengine.v1`. Reasons of refusals are listed in [errors](errors.md).")
        + contract(section, table),
    ]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


def main() -> int:
    """Writes the page, or with `--check` compares; 0 if it is (now) fresh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args().check
    try:
        fresh = page()
    except Silent as silent:
        print(f"docs/api.md cannot be written: {silent}", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        print("docs/api.md does not match the docstrings and the protos: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
