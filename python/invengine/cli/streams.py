"""Standard output and error of a command: a failed write is recorded here and never raised.

The exit code of a command reports what it did, so a failed print must not change it. A closed pipe, a full device, a
closed descriptor or an encoding without the characters is handled here for every print.
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
    """A text stream whose writes never fail. After the first failure the rest is dropped; `failure` has the reason."""

    def __init__(self, under: TextIO | None) -> None:
        self._under = under
        self.failure = "" if under is not None else "it is closed"
        self.reader_closed = False
        """True if the output failed because its reader closed the pipe."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the underlying stream."""
        return getattr(self._under, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Always True."""
        return True

    def write(self, text: str) -> int:
        """Writes the text. Characters that the encoding lacks are written as escapes, so that nothing is omitted."""
        if self._under is not None and not self.failure:
            try:
                try:
                    self._under.write(text)
                except UnicodeEncodeError:
                    self._under.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def write_bytes(self, content: bytes) -> None:
        """Writes bytes as they are, after all text before them."""
        if self._under is not None and not self.failure:
            try:
                self._under.flush()
                self._under.buffer.write(content)
                self._under.buffer.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def flush(self) -> None:
        """Flushes the underlying stream."""
        if self._under is not None and not self.failure:
            try:
                self._under.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def isatty(self) -> bool:
        """True if the underlying stream is a terminal."""
        with suppress(OSError, ValueError):
            return self._under is not None and self._under.isatty()
        return False

    def fileno(self) -> int:
        """The underlying descriptor; OSError if there is none."""
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

    def take_failure(self) -> str:
        """Returns the failure and clears it; later output is still dropped. For processes that continue."""
        failure, self.failure, self._under = self.failure, "", None if self.failure else self._under
        return failure

    def _lose(self, error: Exception) -> None:
        self.failure = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        self.reader_closed = isinstance(error, OSError) and error.errno == errno.EPIPE
        # A flush at the end of the process would fail again, and Python would replace the exit code.
        with suppress(OSError, ValueError):
            if self.fileno() in _STANDARD:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.fileno())
                os.close(null)


def readable(text: str) -> str:
    """The text with each byte that Python could not decode as an escape, such as `\\xff`."""
    try:
        return os.fsencode(text).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return ascii(text)


@contextmanager
def guarded() -> Iterator[GuardedStream]:
    """Guards both streams until the block ends; yields standard output."""
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
    """Returns the guarded output of the running command; None outside of one."""
    return sys.stdout if isinstance(sys.stdout, GuardedStream) else None


def unread() -> bool:
    """True if further output is lost, so that an endless print can stop."""
    out = standard_output()
    return out is not None and bool(out.failure)


def styled(text: str, style: str, stream: Any = None) -> str:
    """Styles the text on a terminal, unless NO_COLOR or TERM=dumb is set."""
    seen = (sys.stdout if stream is None else stream).isatty()
    if not seen or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{style}m{text}\033[0m"


def occupy_standard_descriptors() -> None:
    """Opens closed descriptors from 0 to 2, so that no journal or socket becomes standard output."""
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
