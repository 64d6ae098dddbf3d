"""Exit codes, and the one line of output for an error."""

from __future__ import annotations

import enum
import sys
from typing import Any


class ExitCode(enum.IntEnum):
    """The exit code of a command. Documented in docs/cli.md and in `invengine --help`."""

    OK = 0
    REJECTED = 1
    USAGE = 2
    UNAVAILABLE = 3
    CORRUPT = 4
    FAULT = 5
    IN_USE = 6
    UNFIT = 7
    UNPRINTED = 8
    PARTLY = 9
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.REJECTED: "rejected by the ledger, nothing changed",
    ExitCode.USAGE: "bad flag, argument, setting or input file",
    ExitCode.UNAVAILABLE: "no answer or not now: repeat it with the same --key",
    ExitCode.CORRUPT: "the journal or the backup is damaged, or verify found a broken invariant",
    ExitCode.FAULT: "the engine or the server failed",
    ExitCode.IN_USE: "the address or the journal's directory belongs to another process",
    ExitCode.UNFIT: "doctor found an error, or serve would not start with this machine's clock",
    ExitCode.UNPRINTED: "done, but its output could not be written",
    ExitCode.PARTLY: "done in part: the line says how much",
    ExitCode.INTERRUPTED: "interrupted: what was sent may have happened, so repeat it with the same --key",
}


class UsageProblemError(Exception):
    """A mistake of the caller, as one line with the remedy."""


class InUseError(Exception):
    """Another process holds a resource that this one needs, as one line with the remedy."""


class UnfitError(Exception):
    """A server cannot run in this environment, as one line with the reason."""


class CheckFailedError(Exception):
    """A journal is damaged or violates an invariant, as one line that says where."""


class PartlyDoneError(Exception):
    """Some of a command's steps were accepted and a later one failed, as one line that says how many and why."""


class RefusedLinesError(Exception):
    """The ledger would refuse lines of a file, and nothing was sent, as one line that says how many and why."""


class UnprintedError(Exception):
    """The command is done and its output is lost. `key` is that of its command; empty if it has none."""

    def __init__(self, why: str, key: str) -> None:
        again = f"; run it again with --key {key} to read the answer" if key else ""
        super().__init__(f"the command is done, but its output could not be written ({why}){again}")
        self.key = key


class InterruptedCommandError(Exception):
    """The run was interrupted, and its command may have been sent with `key`; empty if it has none."""

    def __init__(self, key: str) -> None:
        again = f": run it again with --key {key}, and it happens once" if key else ", in part or as a whole"
        super().__init__(f"interrupted; what was sent may have happened{again}")
        self.key = key


# EngineFault carries only its message; these phrases identify the ones with an exit code of their own.
_FAULTS: tuple[tuple[str, type[Exception]], ...] = (
    ("in use", InUseError),
    ("corrupt", CheckFailedError),
    ("cannot be restored", CheckFailedError),
    ("is no journal to use", UsageProblemError),
    ("is not empty", UsageProblemError),
    ("is no position in this journal", UsageProblemError),
    ("writer_epoch_min", UsageProblemError),
    ("belongs to ledger", UsageProblemError),
    ("ledger must be a name", UsageProblemError),
    ("a new ledger cannot be called", UsageProblemError),
    ("does not fit a journal", UsageProblemError),
    ("has journal format", UsageProblemError),
    ("library invengine_journal", UsageProblemError),
    ("the clock of this machine", UnfitError),
    ("does not use it", UsageProblemError),
    ("redis_url", UsageProblemError),
    ("redis_ack", UsageProblemError),
    ("redis_ca_file", UsageProblemError),
)

_ERRORS = "invengine.errors"
_MISTAKES = (
    ("invengine.settings", "SettingsError"),
    ("invengine.service.address", "AddressError"),
    ("invengine.errors", "InvalidArgument"),
)
_CODES: dict[type[Exception], ExitCode] = {
    UsageProblemError: ExitCode.USAGE,
    CheckFailedError: ExitCode.CORRUPT,
    UnfitError: ExitCode.UNFIT,
    InUseError: ExitCode.IN_USE,
    PartlyDoneError: ExitCode.PARTLY,
    RefusedLinesError: ExitCode.REJECTED,
    UnprintedError: ExitCode.UNPRINTED,
    InterruptedCommandError: ExitCode.INTERRUPTED,
}

NO_SERVER = "no server answers there: start one with `invengine serve`, or name it with --target"


def code_of(error: Exception) -> ExitCode:
    """The exit code of an error."""
    own = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if own is not None:
        return own
    if any(_is(error, module, name) for module, name in _MISTAKES):
        return ExitCode.USAGE
    if _is(error, _ERRORS, "CorruptJournal"):
        return ExitCode.CORRUPT
    if _is(error, _ERRORS, "Rejected"):
        return ExitCode.REJECTED
    if _is(error, _ERRORS, "Fault") and not _is(error, _ERRORS, "InternalFault"):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAULT


def _is(error: Exception, module: str, name: str) -> bool:
    """True if the error is of that class. Loads no module: that of a raised error is already loaded."""
    found = sys.modules.get(module)
    return found is not None and isinstance(error, getattr(found, name))


def line_of(error: Exception, *, as_json: bool) -> str:
    """The one line for stderr: text, or a JSON object with `error`."""
    if as_json:
        import json

        return json.dumps({"error": _facts(error)}, ensure_ascii=True)
    text = str(error)
    key = getattr(error, "key", "")
    if _is(error, _ERRORS, "Unreachable"):
        text = f"{NO_SERVER} ({getattr(error, 'message', '')})"
    elif _is(error, _ERRORS, "OutcomeUnknown") and key:
        text = f"{text} (repeat it with --key {key})"
    return f"invengine: {_one_line(text or type(error).__name__)}"


def core_error(error: Exception) -> Exception:
    """Converts an exception of the extension to an error with an exit code; returns any other unchanged."""
    core: Any = sys.modules.get("invengine._core")
    if core is not None and isinstance(error, core.EngineFault):
        text = str(error)
        return next((kind(text) for phrase, kind in _FAULTS if phrase in text), error)
    if len(error.args) == 2 and isinstance(error.args[0], int) and isinstance(error.args[1], bytes):
        from invengine.errors import error_from_status

        return error_from_status(error.args[0], error.args[1])
    return error


def _facts(error: Exception) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": code_of(error).name,
        "message": _one_line(getattr(error, "message", "") or str(error)),
    }
    if _is(error, _ERRORS, "InvengineError"):
        refusal: Any = error
        facts |= {"reason": refusal.reason, "code": refusal.code, "metadata": refusal.metadata}
        facts["violations"] = [{"field": each.field, "description": each.description} for each in refusal.violations]
        if refusal.outcome_unknown:
            facts |= {"outcome_unknown": True, "key": getattr(refusal, "key", "")}
    if isinstance(error, UnprintedError | InterruptedCommandError) and error.key:
        facts["key"] = error.key
    return facts


def _one_line(text: str) -> str:
    # Texts of a server or a file must not contain control characters for the terminal.
    return "".join(char if char.isprintable() else " " for char in text)[:1000]
