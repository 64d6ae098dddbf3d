"""What every accepted command returns: where it is in the journal."""

from __future__ import annotations

from typing import NamedTuple


class Receipt(NamedTuple):
    """The receipt of an accepted command: its position, what is durable, and whether the answer was given before.

    `echo` is True if the command had no effect, because it passed on (`origin`) a message that was applied already. Its
    result has the receipt and nothing else.
    """

    sequence: int
    durable_sequence: int
    replayed: bool
    echo: bool = False


class LookAlike(NamedTuple):
    """A name of a command that people may confuse with an older one of its kind. It was created nevertheless."""

    name: str
    older_name: str


class Upserted(Receipt):
    """The receipt of an Upsert, with those of its names that people may confuse with older ones.

    `versions` are those that the entries have now, in their order; items, locations and channels have none.
    """

    look_alikes: tuple[LookAlike, ...] = ()
    versions: tuple[int, ...] = ()

    def __new__(
        cls, receipt: Receipt, look_alikes: tuple[LookAlike, ...] = (), versions: tuple[int, ...] = ()
    ) -> Upserted:
        """Creates it from a receipt; it remains a tuple like every receipt."""
        made = super().__new__(cls, *receipt)
        made.look_alikes = look_alikes
        made.versions = versions
        return made

    def __getnewargs__(self) -> tuple[Receipt]:
        return (Receipt(*self),)
