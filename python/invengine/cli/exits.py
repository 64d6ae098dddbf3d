"""Exit codes, and the one line that an error becomes."""

from __future__ import annotations

import enum
import json
import sys
from typing import Any

from invengine.errors import (
    CorruptJournal,
    Fault,
    InternalFault,
    InvengineError,
    OutcomeUnknown,
    Rejected,
    Unreachable,
    error_from_status,
)
from invengine.service.address import AddressError
from invengine.settings import SettingsError


class ExitCode(enum.IntEnum):
    """What a finished command tells its caller. Documented in docs/cli.md and in `invengine --help`."""

    OK = 0
    REJECTED = 1
    USAGE = 2
    UNAVAILABLE = 3
    CORRUPT = 4
    FAULT = 5
    IN_USE = 6
    UNFIT = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.REJECTED: "the ledger said no, nothing changed",
    ExitCode.USAGE: "bad flag, argument, setting or input file",
    ExitCode.UNAVAILABLE: "no answer or not now: repeat it with the same --key",
    ExitCode.CORRUPT: "the journal or the backup is damaged, or verify found a broken invariant",
    ExitCode.FAULT: "the engine or the server failed",
    ExitCode.IN_USE: "the address or the journal's directory belongs to another process",
    ExitCode.UNFIT: "doctor found an error, or serve would not start with this machine's clock",
    ExitCode.INTERRUPTED: "interrupted",
}


class UsageProblemError(Exception):
    """The caller's mistake, as one line that says what to do."""


class InUseError(Exception):
    """Another process has what this one needs, as one line that says what to do."""


class UnfitError(Exception):
    """What a server would stand on does not hold, as one line that says what."""


class CheckFailedError(Exception):
    """A journal is not as it must be, as one line that says where."""


# EngineFault carries only its message; these are the words of those that a person can mend without a restart.
_FAULTS: tuple[tuple[str, type[Exception]], ...] = (
    ("in use", InUseError),
    ("corrupt", CheckFailedError),
    ("cannot be restored", CheckFailedError),
    ("is no journal to use", UsageProblemError),
    ("is not empty", UsageProblemError),
    ("writer_epoch_min", UsageProblemError),
    ("belongs to ledger", UsageProblemError),
    ("does not fit a journal", UsageProblemError),
    ("has journal format", UsageProblemError),
    ("library invengine_journal", UsageProblemError),
    ("the clock of this machine", UnfitError),
    ("does not use it", UsageProblemError),
    ("redis_url", UsageProblemError),
    ("redis_ack", UsageProblemError),
    ("redis_ca_file", UsageProblemError),
)

NOBODY_THERE = "no server answers there: start one with `invengine serve`, or name it with --target"


def code_of(error: Exception) -> ExitCode:
    """The exit code of an error."""
    if isinstance(error, SettingsError | AddressError | UsageProblemError):
        return ExitCode.USAGE
    if isinstance(error, CorruptJournal | CheckFailedError):
        return ExitCode.CORRUPT
    if isinstance(error, Rejected):
        return ExitCode.REJECTED
    if isinstance(error, Fault):
        return ExitCode.FAULT if isinstance(error, InternalFault) else ExitCode.UNAVAILABLE
    if isinstance(error, UnfitError):
        return ExitCode.UNFIT
    return ExitCode.IN_USE if isinstance(error, InUseError) else ExitCode.FAULT


def line_of(error: Exception, *, as_json: bool) -> str:
    """The one line for stderr: text, or a JSON object with `error`."""
    if as_json:
        return json.dumps({"error": _facts(error)}, ensure_ascii=True)
    text = str(error)
    if isinstance(error, Unreachable):
        text = f"{NOBODY_THERE} ({error.message})"
    elif isinstance(error, OutcomeUnknown) and error.key:
        text = f"{text} (repeat it with --key {error.key})"
    return f"invengine: {_one_line(text or type(error).__name__)}"


def core_error(error: Exception) -> Exception:
    """Turns what the extension raises into an error with an exit code; anything else stays as it is."""
    core: Any = sys.modules.get("invengine._core")
    if core is not None and isinstance(error, core.EngineFault):
        text = str(error)
        return next((kind(text) for phrase, kind in _FAULTS if phrase in text), error)
    if len(error.args) == 2 and isinstance(error.args[0], int) and isinstance(error.args[1], bytes):
        return error_from_status(error.args[0], error.args[1])
    return error


def _facts(error: Exception) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": code_of(error).name,
        "message": _one_line(getattr(error, "message", "") or str(error)),
    }
    if isinstance(error, InvengineError):
        facts |= {"reason": error.reason, "code": error.code, "metadata": error.metadata}
        facts["violations"] = [{"field": each.field, "description": each.description} for each in error.violations]
        if error.outcome_unknown:
            facts |= {"outcome_unknown": True, "key": getattr(error, "key", "")}
    return facts


def _one_line(text: str) -> str:
    # What a server or a file says must not move the cursor of the terminal that shows it.
    return "".join(char if char.isprintable() else " " for char in text)[:1000]
