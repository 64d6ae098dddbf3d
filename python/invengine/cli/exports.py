"""What every export shares: its flags, and a CSV file or standard output that gets the rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli.csvfile import separator_of, write_rows
from invengine.cli.exits import UsageProblemError
from invengine.cli.output import print_facts, print_json
from invengine.cli.progress import progress
from invengine.cli.streams import standard_output, unread

Out = Annotated[Path | None, typer.Option("--out", help="Write this file instead of standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there.")]
# An export is written to standard output in pieces of about this many characters.
_PIECE = 1 << 16


def export(
    rows: Callable[[], Iterable[Sequence[Any]]],
    columns: Sequence[str],
    out: Path | None,
    *,
    force: bool,
    delimiter: str,
    as_json: bool,
    more: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Writes rows as CSV in UTF-8: to the file `out`, or to standard output, there with --json as objects.

    A file is there as a whole or not at all. `more` is told after the number of rows once all of them are written.
    """
    separator_of(delimiter)
    if out is not None:
        print_facts({"file": out, "rows": _to_file(rows, columns, out, force, delimiter), **more()}, as_json=as_json)
    elif force:
        raise UsageProblemError("--force replaces the file of --out: name one")
    elif as_json:
        for row in rows():
            print_json(dict(zip(columns, row, strict=True)))
            if unread():
                return
    else:
        _to_output(rows, columns, delimiter)


def _to_file(
    rows: Callable[[], Iterable[Sequence[Any]]], columns: Sequence[str], out: Path, force: bool, delimiter: str
) -> int:
    # With --force the old file stays until the new one is complete.
    place = out.with_name(f"{out.name}.part") if force else out
    try:
        with place.open("w" if force else "x", encoding="utf-8", newline="") as file:
            try:
                with progress(f"writing {out.name}", None) as advance:
                    count = write_rows(file, columns, _counted(rows(), advance), delimiter)
            except BaseException:
                with suppress(OSError):
                    place.unlink()
                raise
        if force:
            place.replace(out)
    except FileExistsError:
        raise UsageProblemError(f"{out} is there already: name another file, or replace it with --force") from None
    except OSError as error:
        raise UsageProblemError(f"cannot write {out}: {error.strerror}") from None
    return count


def _counted(rows: Iterable[Sequence[Any]], advance: Callable[[int], None]) -> Iterable[Sequence[Any]]:
    for row in rows:
        yield row
        advance(1)


def _to_output(rows: Callable[[], Iterable[Sequence[Any]]], columns: Sequence[str], delimiter: str) -> None:
    out = standard_output()
    assert out is not None
    piece = io.StringIO()

    def flush() -> None:
        # In UTF-8 whatever the locale is: an escape instead of a character would be another name.
        out.write_bytes(piece.getvalue().encode())
        piece.seek(0)
        piece.truncate()

    def read() -> Iterable[Sequence[Any]]:
        for row in rows():
            yield row
            if piece.tell() >= _PIECE:
                flush()
                if unread():
                    return

    write_rows(piece, columns, read(), delimiter)
    flush()
