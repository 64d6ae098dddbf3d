"""The numbered messages of one source, without I/O: their numbers, which are open, and what a rejection means."""

from __future__ import annotations

import json
import os
from collections import deque
from os import PathLike
from typing import Any

from invengine.client import arguments
from invengine.client.draft import Draft
from invengine.client.results import MessageOutcome, Position, Registration
from invengine.errors import (
    AuthMissing,
    ChannelNotAllowed,
    DedupeWindowExpired,
    Fault,
    InvalidArgument,
    InvalidField,
    InvengineError,
    KeyReused,
    Rejected,
    SequenceGap,
    StaleEpoch,
    Unimplemented,
    UnknownSource,
)

ANSWERED_KEPT_MAX = 1024
"""Answered messages kept to be sent again, as many as the ledger stores outcomes."""

STATE_BYTES_MAX = 64 * 1024
"""More than the size of any state file."""
NUMBER_MAX = 2**63 - 1

_RESOURCE_EXHAUSTED = 8
_CHECKED_BEFORE_NUMBER = (
    AuthMissing,
    ChannelNotAllowed,
    DedupeWindowExpired,
    InvalidField,
    KeyReused,
    SequenceGap,
    StaleEpoch,
    Unimplemented,
    UnknownSource,
)


def consumes_number(error: InvengineError, source_id: str) -> bool:
    """True if the ledger journalled this rejection of a message of a source, so that its number is used up."""
    if isinstance(error, UnknownSource) and error.metadata.get("source", source_id) != source_id:
        return True  # The message passes on one of a source that nobody registered.
    return (
        isinstance(error, Rejected)
        and not isinstance(error, _CHECKED_BEFORE_NUMBER)
        and error.code != _RESOURCE_EXHAUSTED
    )


class Message:
    """One numbered draft. `uncertain`: it was sent without getting an answer, so its number may be used up.

    `recorded`: it is sent as a message that the ledger keeps if it cannot be applied, and not as a command.
    """

    __slots__ = ("draft", "number", "recorded", "running", "uncertain")

    def __init__(self, draft: Draft[Any], number: int, recorded: bool = False) -> None:
        self.draft = draft
        self.number = number
        self.recorded = recorded
        self.running = True
        self.uncertain = False


class Numbering:
    """Numbers 1, 2, 3, ... of one epoch. `answered` is the last number up to which every message is answered."""

    def __init__(self, source_id: str, epoch: int, answered: int) -> None:
        self.source_id = source_id
        self.epoch = epoch
        self.answered = answered
        self._last = answered
        """The last assigned number. Answers arrive in any order, so it may be above every open message."""
        self._open: list[Message] = []
        self._answered_messages: deque[Message] = deque(maxlen=ANSWERED_KEPT_MAX)

    @property
    def position(self) -> Position:
        """What to store across a restart."""
        return Position(self.source_id, self.epoch, self.answered)

    @property
    def abandoned(self) -> list[Message]:
        """Open messages without a waiting caller; they must be settled before a new message is sent."""
        return [message for message in self._open if not message.running]

    @property
    def in_flight(self) -> bool:
        """True while a message has a waiting caller."""
        return any(message.running for message in self._open)

    def add(self, draft: Draft[Any], recorded: bool = False) -> Message:
        """Assigns the next number."""
        self._last += 1
        message = Message(draft, self._last, recorded)
        self._open.append(message)
        return message

    def stamp(self, message: Message) -> None:
        """Writes the position of the message into its draft."""
        source = message.draft.request.context.source
        source.source_id, source.epoch, source.sequence = self.source_id, self.epoch, message.number

    def is_last(self, message: Message) -> bool:
        """True if no later number was given."""
        return message.number == self._last

    def is_first(self, message: Message) -> bool:
        """True if everything before it is answered."""
        return bool(self._open) and self._open[0] is message

    def settle(self, message: Message) -> None:
        """Marks the message as answered, which uses up its number."""
        self._open.remove(message)
        self._answered_messages.append(message)
        self.answered = self._open[0].number - 1 if self._open else max(self.answered, self._last_answered())

    def _last_answered(self) -> int:
        return max((message.number for message in self._answered_messages), default=0)

    def abandon(self, message: Message) -> None:
        """Marks a message without a waiting caller whose number may be used up: it stays open and is settled first."""
        message.uncertain = True
        message.running = False

    def withdraw(self, message: Message) -> bool:
        """Removes a message whose number was certainly not used; the later ones move up.

        False if that is not safe, because one of them was sent under its old number and not answered. Then only a new
        epoch ensures that the old number cannot arrive late.
        """
        index = self._open.index(message)
        del self._open[index]
        later = self._open[index:]
        if any(each.uncertain for each in later):
            return False
        for each in later:
            each.number -= 1
        self._last -= 1
        return True

    def restart(self, epoch: int) -> None:
        """Starts a new epoch: open messages are numbered from 1, and none is answered yet."""
        self.epoch, self.answered = epoch, 0
        self._last = len(self._open)
        self._answered_messages.clear()
        for number, message in enumerate(self._open, 1):
            message.number, message.uncertain = number, False

    def answered_from(self, expected: int, before: int) -> list[Message] | None:
        """Returns the answered messages `expected` to `before - 1`; None if one of them is no longer stored."""
        found = sorted(
            (each for each in self._answered_messages if expected <= each.number < before), key=lambda each: each.number
        )
        return found if len(found) == before - expected else None


class StateFileError(ValueError):
    """The state file of a source is damaged, or belongs to another source. Nothing was sent; the file is unchanged."""


class StateFile:
    """Stores {source, epoch, sequence} in a small JSON file, which is replaced atomically.

    It survives the process, but may be older after a crash of the machine: then messages are sent again and answered
    `replayed`.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        if not isinstance(path, str | PathLike) or not os.fspath(path):
            raise InvalidArgument("state_file", f"the path of a file; got {path!r}")
        self._path = os.fspath(path)

    def load(self, source_id: str) -> Position | None:
        """Returns the stored position; None if the file does not exist. StateFileError if it cannot be used."""
        try:
            with open(self._path, "rb") as file:
                found = _position(file.read(STATE_BYTES_MAX + 1))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise StateFileError(
                f"{self._path} is not the state of a source, or was cut or altered ({error}): put a whole copy back, or"
                " remove it; then the source registers a new epoch, whose registration tells the last message applied"
            ) from error
        if found.source_id != source_id:
            raise StateFileError(
                f"{self._path} is the state of source {found.source_id!r}, not of {source_id!r}: name its own file"
            )
        return found

    def save(self, position: Position) -> None:
        """Replaces the stored position."""
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"source_id": position.source_id, "epoch": position.epoch, "sequence": position.sequence}, file)
        os.replace(new, self._path)


def _position(content: bytes) -> Position:
    """Returns the position in a state file; ValueError if there is none."""
    if len(content) > STATE_BYTES_MAX:
        raise ValueError("it is too long")
    state = json.loads(content)
    if not isinstance(state, dict) or state.keys() != {"source_id", "epoch", "sequence"}:
        raise ValueError("it is an object of source_id, epoch and sequence")
    if not isinstance(state["source_id"], str) or not state["source_id"]:
        raise ValueError("source_id is a name")
    return Position(state["source_id"], *_epoch_and_sequence(state["epoch"], state["sequence"]))


def _epoch_and_sequence(epoch: Any, sequence: Any) -> tuple[int, int]:
    """Checks epoch and sequence; ValueError if one is out of its range."""
    for name, number, least in (("epoch", epoch, 1), ("sequence", sequence, 0)):
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= NUMBER_MAX:
            raise ValueError(f"{name} is a whole number of {least} or more, not {number!r}")
    return epoch, sequence


def resume_position(source_id: str, epoch: int | None, sequence: int | None, file: StateFile | None) -> Position | None:
    """Returns the position to continue after: that of the caller, or else of the file, or else None."""
    arguments.nonempty(source_id, "source_id")
    if (epoch is None) != (sequence is None):
        raise InvalidArgument("epoch", "give both epoch and sequence, or neither")
    if epoch is not None and sequence is not None:
        given_epoch = arguments.positive(epoch, "epoch", "a new one")
        if arguments.integer(sequence, "sequence") < 0:
            raise InvalidArgument("sequence", f"0 or more; got {sequence}")
        return Position(source_id, given_epoch, sequence)
    return None if file is None else file.load(source_id)


RECORDED_AT_ONCE = 1_000
"""Messages of one call of `record`, after which the position is saved."""


class NumberedSource:
    """What the sources of both clients are made of: the numbers of their messages, and the file that remembers them."""

    def __init__(self, numbering: Numbering, file: StateFile | None, registration: Registration | None) -> None:
        self._numbering = numbering
        self._file = file
        self.registration = registration
        """The result of registering, with the last sequence of the previous epoch; None if an epoch was continued."""

    def _numbered(self, drafts: list[Draft[Any]]) -> list[Message]:
        """Gives each message its number, and writes it into its draft."""
        found = [self._numbering.add(draft, recorded=True) for draft in drafts]
        for message in found:
            self._numbering.stamp(message)
        return found

    def _concluded(self, messages: list[Message], outcomes: list[MessageOutcome]) -> None:
        """Settles the messages that the ledger has; one that it refused keeps its number if a later one is used."""
        for message, outcome in zip(reversed(messages), reversed(outcomes), strict=True):
            refused = None if outcome.is_kept else outcome.rejection
            if refused is None or consumes_number(refused, self._numbering.source_id):
                self._numbering.settle(message)
            else:
                self._give_up(message)
        self._save()

    def _unanswered(self, messages: list[Message], error: BaseException) -> None:
        """Keeps the numbers of messages without an answer, unless nothing was sent."""
        unsent = isinstance(error, Rejected) or (isinstance(error, Fault) and not error.outcome_unknown)
        for message in reversed(messages):
            if unsent:
                self._give_up(message)
            else:
                self._numbering.abandon(message)

    def _give_up(self, message: Message) -> None:
        """Takes the last number back; any other stays open, to be sent again before anything else."""
        if not (self._numbering.is_last(message) and self._numbering.withdraw(message)):
            message.running = False

    def _save(self) -> None:
        if self._file is not None:
            self._file.save(self._numbering.position)
