"""Optimisations for a process that runs only one command.

Called as a function inside another program, the command line does none of them.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

_own = False
_only_asks = False


def begin() -> None:
    """Declares that the process belongs to the command. Its modules stay loaded, so garbage collection is useless."""
    global _own
    _own = True
    gc.disable()


def loaded() -> None:
    """Declares that the command is loaded; garbage collection runs from now on."""
    if _own:
        gc.freeze()
        gc.enable()


def only_asks() -> None:
    """Declares that the command only calls a server: it opens no journal, starts no server and needs no cleanup."""
    global _only_asks
    _only_asks = True


def end(code: int) -> None:
    """Ends the process if it only called a server; otherwise Python ends it.

    Every call is answered and the output is flushed: unloading the modules of gRPC and protobuf would be useless, and
    takes a sixth of the time of the command.
    """
    if not (_own and _only_asks):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
