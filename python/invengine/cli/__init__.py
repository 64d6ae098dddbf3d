"""The command line. `main` is the entry point of the `invengine` script."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

MISSING = "invengine: the command line is not installed: run `pip install 'invengine[server]'`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code, as documented in docs/cli.md."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError:
        # A client-only install has none of this on purpose.
        print(MISSING, file=sys.stderr)
        return 2
    # grpcio writes lines of its own to stderr, where a command owes its caller exactly one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from invengine.cli.app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))
