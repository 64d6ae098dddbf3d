"""The numbered line of one source, without I/O: which number a message has, what is open, what a no means for it."""

from __future__ import annotations

import json
import os
from collections import deque
from os import PathLike
from typing import Any

from invengine.client import arguments
from invengine.client.draft import Draft
from invengine.client.results import Position
from invengine.errors import (
    AuthMissing,
    ChannelNotAllowed,
    DedupeWindowExpired,
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

KEPT_MAX = 1024
"""Answered messages kept for sending again, as many as the ledger keeps outcomes for."""

STATE_BYTES_MAX = 64 * 1024
"""More than any state file has."""
NUMBER_MAX = 2**63 - 1

_RESOURCE_EXHAUSTED = 8
_BEFORE_THE_NUMBER = (
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


def consumes_number(error: InvengineError) -> bool:
    """True if the ledger journalled this no, so that the message's number is used up."""
    return (
        isinstance(error, Rejected) and not isinstance(error, _BEFORE_THE_NUMBER) and error.code != _RESOURCE_EXHAUSTED
    )


class Message:
    """One numbered draft. `uncertain`: it was sent and no answer came, so its number may be used up."""

    __slots__ = ("draft", "number", "running", "uncertain")

    def __init__(self, draft: Draft[Any], number: int) -> None:
        self.draft = draft
        self.number = number
        self.running = True
        self.uncertain = False


class Numbering:
    """Numbers 1, 2, 3, ... of one epoch. `answered` is the last number up to which every message has its answer."""

    def __init__(self, source_id: str, epoch: int, answered: int) -> None:
        self.source_id = source_id
        self.epoch = epoch
        self.answered = answered
        self._last = answered
        """The last number given. Answers come in any order, so it may be above every message that is still open."""
        self._open: list[Message] = []
        self._kept: deque[Message] = deque(maxlen=KEPT_MAX)

    @property
    def position(self) -> Position:
        """What to remember across a restart."""
        return Position(self.source_id, self.epoch, self.answered)

    @property
    def abandoned(self) -> list[Message]:
        """Messages whose answer nobody waits for any more; they must be settled before anything new."""
        return [message for message in self._open if not message.running]

    def add(self, draft: Draft[Any]) -> Message:
        """Gives the next number."""
        self._last += 1
        message = Message(draft, self._last)
        self._open.append(message)
        return message

    def stamp(self, message: Message) -> None:
        """Writes the message's place into its draft."""
        source = message.draft.request.context.source
        source.source_id, source.epoch, source.sequence = self.source_id, self.epoch, message.number

    def is_first(self, message: Message) -> bool:
        """True if everything before it has its answer."""
        return bool(self._open) and self._open[0] is message

    def settle(self, message: Message) -> None:
        """The message has its answer and its number is used up."""
        self._open.remove(message)
        self._kept.append(message)
        self.answered = self._open[0].number - 1 if self._open else max(self.answered, self._last_kept())

    def _last_kept(self) -> int:
        return max((message.number for message in self._kept), default=0)

    def abandon(self, message: Message) -> None:
        """Its number may be used up, and nobody waits any more: it stays open and is settled before the next."""
        message.uncertain = True
        message.running = False

    def withdraw(self, message: Message) -> bool:
        """Its number was certainly not used: the messages behind it move up.

        False if that is not safe, because one of them was sent under its old number and never answered. Then only a
        new epoch makes sure that the old number cannot arrive late.
        """
        place = self._open.index(message)
        del self._open[place]
        later = self._open[place:]
        if any(each.uncertain for each in later):
            return False
        for each in later:
            each.number -= 1
        self._last -= 1
        return True

    def restart(self, epoch: int) -> None:
        """A new epoch: what is open is numbered from 1, nothing is answered in it yet."""
        self.epoch, self.answered = epoch, 0
        self._last = len(self._open)
        self._kept.clear()
        for number, message in enumerate(self._open, 1):
            message.number, message.uncertain = number, False

    def kept_from(self, expected: int, before: int) -> list[Message] | None:
        """The answered messages `expected` to `before - 1`; None if one of them is no longer kept."""
        found = sorted((each for each in self._kept if expected <= each.number < before), key=lambda each: each.number)
        return found if len(found) == before - expected else None


class StateFileError(ValueError):
    """The state file of a source is damaged, or another source's. Nothing was sent, and the file is as it was."""


class StateFile:
    """Remembers {source, epoch, sequence} in a small JSON file, replaced whole each time.

    It survives the process, and may lag behind the machine: then messages are sent again and answered `replayed`.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        if not isinstance(path, str | PathLike) or not os.fspath(path):
            raise InvalidArgument("state_file", f"the path of a file; got {path!r}")
        self._path = os.fspath(path)

    def load(self, source_id: str) -> Position | None:
        """What was remembered; None if the file does not exist. StateFileError if it is damaged or another source's."""
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
        """Replaces what is remembered."""
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"source_id": position.source_id, "epoch": position.epoch, "sequence": position.sequence}, file)
        os.replace(new, self._path)


def _position(content: bytes) -> Position:
    """The position that a state file holds. ValueError says what is wrong."""
    if len(content) > STATE_BYTES_MAX:
        raise ValueError("it is too long")
    state = json.loads(content)
    if not isinstance(state, dict) or state.keys() != {"source_id", "epoch", "sequence"}:
        raise ValueError("it is an object of source_id, epoch and sequence")
    if not isinstance(state["source_id"], str) or not state["source_id"]:
        raise ValueError("source_id is a name")
    return Position(state["source_id"], *_place(state["epoch"], state["sequence"]))


def _place(epoch: Any, sequence: Any) -> tuple[int, int]:
    """Epoch and sequence, each a whole number in its range."""
    for name, number, least in (("epoch", epoch, 1), ("sequence", sequence, 0)):
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= NUMBER_MAX:
            raise ValueError(f"{name} is a whole number of {least} or more, not {number!r}")
    return epoch, sequence


def remembered(source_id: str, epoch: int | None, sequence: int | None, file: StateFile | None) -> Position | None:
    """Where to go on: what the caller says, else what the file says, else nothing."""
    arguments.named(source_id, "source_id")
    if (epoch is None) != (sequence is None):
        raise InvalidArgument("epoch", "give both epoch and sequence, or neither")
    if epoch is not None and sequence is not None:
        place = arguments.positive(epoch, "epoch", "a new one")
        if arguments.whole(sequence, "sequence") < 0:
            raise InvalidArgument("sequence", f"0 or more; got {sequence}")
        return Position(source_id, place, sequence)
    return None if file is None else file.load(source_id)
