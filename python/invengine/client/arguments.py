"""What the client refuses before it sends: nothing, zero and empty are never taken for one another, nor for "all".

- A required value that is None or of the wrong type is refused, with the name of the argument and of its line.
- Leaving something out has a meaning (any key, the whole hold, every item); an empty text, an empty list or a 0 that is
  given in its place has none, and is refused. None for an optional argument is "left out".
- What is only out of its range, or unknown, is the server's to judge.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from invengine.errors import InvalidArgument

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

HELD_LINE = "(sku, location, quantity)"
PART = "(sku, location) for all of a line, or (sku, location, quantity)"
QUANTITY_LINE = "(sku, location, quantity), or with a fourth element (…, expected_quantity)"
_NAMES = ("sku", "location", "quantity", "expected_quantity")


def text(value: Any, field: str) -> str:
    """A text, which may be empty."""
    if not isinstance(value, str):
        raise InvalidArgument(field, f"a text; got {_shown(value)}")
    return value


def named(value: Any, field: str) -> str:
    """A text that is not empty."""
    if not text(value, field):
        raise InvalidArgument(field, "must not be empty: leave it out, or give None, if it is not meant")
    return str(value)


def whole(value: Any, field: str) -> int:
    """A whole number that the wire can carry. Integers of other libraries are taken; a bool and a float are not."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if not INT64_MIN <= number <= INT64_MAX:
                raise InvalidArgument(field, f"within 64 bits; got {number}")
            return number
    raise InvalidArgument(field, f"a whole number (int); got {_shown(value)}")


def positive(value: Any, field: str, left_out: str) -> int:
    """A whole number from 1 on, for what may be left out instead; `left_out` says what that means."""
    number = whole(value, field)
    if number < 1:
        raise InvalidArgument(field, f"at least 1; got {number}: leave it out for {left_out}")
    return number


def flag(value: Any, field: str) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise InvalidArgument(field, f"True or False; got {_shown(value)}")
    return value


def seconds(value: Any, field: str) -> float:
    """A finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e18 < value < 1e18:
        raise InvalidArgument(field, f"a number of seconds; got {_shown(value)}")
    return value


def each(values: Any, field: str) -> Iterable[Any]:
    """Something to go through that is not a text or a mapping, which would be taken apart."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgument(field, f"a list; got {_shown(values)}")
    return values


def rows(lines: Any, sizes: tuple[int, ...], form: str, unit: str = "quantity") -> Sequence[tuple[Any, ...]]:
    """The lines of a command, at least one: two texts, then whole numbers.

    `form` says what a line looks like, `unit` what is third. Lines of three as they should be are only looked at: this
    is on the fast path.
    """
    given = lines if lines.__class__ is list or lines.__class__ is tuple else list(each(lines, "lines"))
    if not given:
        raise InvalidArgument("lines", "at least one")
    for line in given:
        if line.__class__ is tuple and len(line) == 3:
            sku, location, units = line
            texts = sku.__class__ is str and location.__class__ is str
            if texts and units.__class__ is int and INT64_MIN <= units <= INT64_MAX:
                continue
        names = (*_NAMES[:2], unit, *_NAMES[3:])
        return [_row(f"lines[{number}]", line, sizes, form, names) for number, line in enumerate(given)]
    found: Sequence[tuple[Any, ...]] = given
    return found


def _row(field: str, line: Any, sizes: tuple[int, ...], form: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(line, tuple | list) or len(line) not in sizes:
        raise InvalidArgument(field, f"{form}; got {_shown(line)}")
    return tuple((text if place < 2 else whole)(value, f"{field}.{names[place]}") for place, value in enumerate(line))


def parts(lines: Any) -> Iterator[tuple[Any, ...]]:
    """Parts of a hold: at least one, each of at least one unit."""
    given = list(each(lines, "lines"))
    if not given:
        raise InvalidArgument("lines", "at least one: leave `lines` out for the whole hold")
    for number, part in enumerate(rows(given, (2, 3), PART)):
        if len(part) == 3 and part[2] < 1:
            rule = f"at least 1; got {part[2]}: for all of the line leave the quantity out, {part[:2]!r}"
            raise InvalidArgument(f"lines[{number}].quantity", rule)
        yield part


def _shown(value: Any) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 80 else shown[:77] + '...'} ({type(value).__name__})"
