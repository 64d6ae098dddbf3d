"""Checks of arguments before anything is sent: None, zero and empty never stand for one another, nor for "all".

- A required value that is None or of the wrong type is refused; the error names the argument and its line.
- Omitting an argument has a meaning (any key, the whole hold, every item); an empty text, an empty list or a 0 that is
  given instead has none and is refused. None for an optional argument means omitted.
- The server checks ranges and names.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from invengine.errors import InvalidArgument
from invengine.text import is_encodable

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
SECONDS_MAX = 315_576_000_000
"""The longest google.protobuf.Duration: 10,000 years."""
TIMEOUT_S_MAX = 365 * 24 * 3600.0
"""The longest timeout. gRPC cannot represent much longer ones: its deadline would already have passed."""
LEDGER_CHARS_MAX = 128

HELD_LINE = "(sku, location, quantity)"
PART = "(sku, location) for all of a line, or (sku, location, quantity)"
QUANTITY_LINE = "(sku, location, quantity), or with a fourth element (…, expected_quantity)"
_NAMES = ("sku", "location", "quantity", "expected_quantity")


def text(value: Any, field: str) -> str:
    """Checks a text, which may be empty. It must have a form in UTF-8: half of a surrogate pair has none.

    Python makes such halves of bytes that it cannot decode, for instance in a file name.
    """
    if not isinstance(value, str):
        raise InvalidArgument(field, f"a text; got {_described(value)}")
    if not is_encodable(value):
        raise InvalidArgument(field, f"a text that UTF-8 can write; got {_described(value)}")
    return value


def nonempty(value: Any, field: str) -> str:
    """Checks a text that must not be empty."""
    if not text(value, field):
        raise InvalidArgument(field, "must not be empty: leave it out, or give None, if it is not meant")
    return str(value)


def integer(value: Any, field: str) -> int:
    """Checks an integer of 64 bits. Integers of other libraries are accepted; a bool or a float is not."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if not INT64_MIN <= number <= INT64_MAX:
                raise InvalidArgument(field, f"within 64 bits; got {number}")
            return number
    raise InvalidArgument(field, f"a whole number (int); got {_described(value)}")


def positive(value: Any, field: str, left_out: str) -> int:
    """Checks an integer of at least 1 for an optional argument; `left_out` describes what omitting it means."""
    number = integer(value, field)
    if number < 1:
        raise InvalidArgument(field, f"at least 1; got {number}: leave it out for {left_out}")
    return number


def flag(value: Any, field: str) -> bool:
    """Checks a bool; other truthy or falsy values are refused."""
    if not isinstance(value, bool):
        raise InvalidArgument(field, f"True or False; got {_described(value)}")
    return value


def seconds(value: Any, field: str) -> float:
    """Checks a number of seconds that a message can carry; NaN and infinity are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= SECONDS_MAX:
        raise InvalidArgument(field, f"a number of seconds, at most {SECONDS_MAX:,}; got {_described(value)}")
    return value


def timeout(value: Any, field: str) -> float:
    """Checks how long something may take, in seconds. 0 is a time that has passed already."""
    if not 0 <= seconds(value, field) <= TIMEOUT_S_MAX:
        raise InvalidArgument(field, f"0 to {TIMEOUT_S_MAX:,.0f} seconds (365 days); got {value!r}")
    return float(value)


def ledger_name(value: Any, field: str) -> str:
    """Checks the name of a ledger as a call can carry it in its metadata, which is what the server asks of new ones."""
    name = nonempty(value, field)
    if len(name) > LEDGER_CHARS_MAX or not (name.isascii() and name.isprintable()) or name != name.strip(" "):
        raise InvalidArgument(
            field,
            f"1 to {LEDGER_CHARS_MAX} printable ASCII characters without a space at either end; "
            f"got {_described(name)}; an older ledger with another name is reached without naming it",
        )
    return name


def items_of(values: Any, field: str) -> Iterable[Any]:
    """Checks an iterable; a text, bytes or a mapping is refused, since its parts would be taken as the values."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgument(field, f"a list; got {_described(values)}")
    return values


def rows(lines: Any, sizes: tuple[int, ...], form: str, unit: str = "quantity") -> Sequence[tuple[Any, ...]]:
    """Checks the lines of a command, at least one: two texts, then integers.

    `form` describes a line in error messages, and `unit` names its third element. Valid lines of three elements, or of
    four, are not copied: this is on the fast path.
    """
    given = lines if lines.__class__ is list or lines.__class__ is tuple else list(items_of(lines, "lines"))
    if not given:
        raise InvalidArgument("lines", "at least one")
    for line in given:
        if line.__class__ is tuple and len(line) == 3:
            sku, location, units = line
            texts = sku.__class__ is str and location.__class__ is str and is_encodable(sku) and is_encodable(location)
            if texts and units.__class__ is int and INT64_MIN <= units <= INT64_MAX:
                continue
        elif 4 in sizes and _is_plain_four(line):
            continue
        names = (*_NAMES[:2], unit, *_NAMES[3:])
        return [_row(f"lines[{number}]", line, sizes, form, names) for number, line in enumerate(given)]
    found: Sequence[tuple[Any, ...]] = given
    return found


def _is_plain_four(line: Any) -> bool:
    if line.__class__ is not tuple or len(line) != 4:
        return False
    sku, location, units, expected = line
    if sku.__class__ is not str or location.__class__ is not str or not (is_encodable(sku) and is_encodable(location)):
        return False
    integers = units.__class__ is int and expected.__class__ is int
    return integers and INT64_MIN <= units <= INT64_MAX and INT64_MIN <= expected <= INT64_MAX


def _row(field: str, line: Any, sizes: tuple[int, ...], form: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(line, tuple | list) or len(line) not in sizes:
        raise InvalidArgument(field, f"{form}; got {_described(line)}")
    return tuple(
        (text if column < 2 else integer)(value, f"{field}.{names[column]}") for column, value in enumerate(line)
    )


def parts(lines: Any) -> Iterator[tuple[Any, ...]]:
    """Yields checked parts of a hold: at least one, each of at least one unit."""
    given = list(items_of(lines, "lines"))
    if not given:
        raise InvalidArgument("lines", "at least one: leave `lines` out for the whole hold")
    for number, part in enumerate(rows(given, (2, 3), PART)):
        if len(part) == 3 and part[2] < 1:
            rule = f"at least 1; got {part[2]}: for all of the line leave the quantity out, {part[:2]!r}"
            raise InvalidArgument(f"lines[{number}].quantity", rule)
        yield part


def _described(value: Any) -> str:
    text_of_value = repr(value)
    return f"{text_of_value if len(text_of_value) <= 80 else text_of_value[:77] + '...'} ({type(value).__name__})"
