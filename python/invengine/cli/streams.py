"""Standard output and error of a command: what cannot be written is noted here and never raised.

A command's exit code tells what it did. So printing must not decide it: a closed pipe, a full device, a closed
descriptor or an encoding without the characters is found out in this one place, whoever prints.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
_STANDARD = (0, 1, 2)


class GuardedStream(io.TextIOBase):
    """A text stream that takes everything. After the first failure the rest is dropped, and `failure` says why."""

    def __init__(self, under: TextIO | None) -> None:
        self._under = under
        self.failure = "" if under is not None else "it is closed"
        self.reader_left = False
        """True if the failure is that whoever read the output has ended."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream below."""
        return getattr(self._under, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Takes the text. Characters that the encoding lacks are written as escapes, so that nothing is left out."""
        if self._under is not None and not self.failure:
            try:
                try:
                    self._under.write(text)
                except UnicodeEncodeError:
                    self._under.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Passes on what is buffered."""
        if self._under is not None and not self.failure:
            try:
                self._under.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def isatty(self) -> bool:
        """True if a person looks at it."""
        with suppress(OSError, ValueError):
            return self._under is not None and self._under.isatty()
        return False

    def fileno(self) -> int:
        """The descriptor below; OSError if there is none."""
        if self._under is None:
            raise io.UnsupportedOperation("fileno")
        return self._under.fileno()

    def can_encode(self, text: str) -> bool:
        """True if the text can be written without escapes."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def forgive(self) -> str:
        """Gives the failure and forgets it; later output is dropped all the same. For what runs on without a reader."""
        failure, self.failure, self._under = self.failure, "", None if self.failure else self._under
        return failure

    def _lose(self, error: Exception) -> None:
        self.failure = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        self.reader_left = isinstance(error, OSError) and error.errno == errno.EPIPE
        # What is still buffered would fail again when the process ends, and Python would make its own exit code of it.
        with suppress(OSError, ValueError):
            if self.fileno() in _STANDARD:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)


@contextmanager
def guarded() -> Iterator[GuardedStream]:
    """Guards both streams until the block ends; gives standard output."""
    out, errors = sys.stdout, sys.stderr
    guard = GuardedStream(out)
    sys.stdout, sys.stderr = guard, GuardedStream(errors)
    try:
        yield guard
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = out, errors


def standard_output() -> GuardedStream | None:
    """The guarded output of the command that runs; None outside of one."""
    return sys.stdout if isinstance(sys.stdout, GuardedStream) else None


def unread() -> bool:
    """True if what is printed from now on is lost, so that whoever prints without an end may stop."""
    out = standard_output()
    return out is not None and bool(out.failure)


def styled(text: str, style: str, stream: Any = None) -> str:
    """The text in a style where a person looks: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
    seen = (sys.stdout if stream is None else stream).isatty()
    if not seen or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{style}m{text}\033[0m"


def occupy_standard_descriptors() -> None:
    """Opens what is closed of descriptors 0 to 2, so that no journal or socket is taken for standard output."""
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
