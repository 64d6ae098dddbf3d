"""The command line. `main` is the entry point of the `invengine` script."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from invengine.cli import lifespan
from invengine.cli.streams import guarded, occupy_standard_descriptors

MISSING = "invengine: the command line is not installed: run `pip install 'invengine[server]'`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, as documented in docs/cli.md. Never raises.

    With `arguments` it always returns; without them it owns the process and may end it itself.
    """
    if arguments is None:
        occupy_standard_descriptors()
        lifespan.begin()
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        # A client-only installation does not have it on purpose.
        return _print_and_end(MISSING, 2)
    # grpcio writes its own lines to stderr, where a failed command must write exactly one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from invengine.cli.app import run
    except Exception as error:
        # Python's own exit code 1 would mean a rejection by the ledger.
        return _print_and_end(f"invengine: the command line cannot be loaded: {error!r}", 5)
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    lifespan.end(code)
    return code


def _print_and_end(line: str, code: int) -> int:
    with guarded():
        print(line, file=sys.stderr)
    return code
