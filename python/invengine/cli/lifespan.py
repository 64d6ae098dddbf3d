"""What a process may do that runs one command and nothing else, so that the command is quick.

Started as a function, inside of a longer program, the command line does none of it.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

_own = False
_only_asks = False


def begin() -> None:
    """The process is the command's own. What it loads stays: to look for garbage among it would be time lost."""
    global _own
    _own = True
    gc.disable()


def loaded() -> None:
    """The command is loaded; what it makes from now on is collected as everywhere."""
    if _own:
        gc.freeze()
        gc.enable()


def only_asks() -> None:
    """The command asks a server: it opens no journal, starts no server and leaves nothing to be tidied up."""
    global _only_asks
    _only_asks = True


def end(code: int) -> None:
    """Ends the process if it only asked; else it is to end as Python ends.

    What was asked is answered and what was said is flushed: to take the modules of gRPC and protobuf apart would save
    nothing, and takes a sixth of the whole command.
    """
    if not (_own and _only_asks):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
