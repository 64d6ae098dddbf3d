"""Typer commands that load neither rich for help nor pydantic for a plain text or number, and refuse empty texts."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperOption

from invengine.cli.exits import UsageProblemError

# Flags of which '' is a value of its own: no metrics, or no such label of an entry, which is replaced as a whole.
MAY_BE_EMPTY = frozenset({"--metrics-address", "--display-name", "--gtin", "--gln", "--item-class"})

_PLAIN = (str, int, float, bool)
# Texts that certainly are numbers; pydantic checks any other text.
_NUMBERS = {int: re.compile(r"-?[0-9]{1,18}"), float: re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")}


class _LeanOption(TyperOption):
    def process_value(self, context: Any, value: Any) -> Any:
        return _processed(self, super().process_value, context, value)


class _LeanArgument(TyperArgument):
    def process_value(self, context: Any, value: Any) -> Any:
        return _processed(self, super().process_value, context, value)


def lean(command: Any) -> Any:
    """Changes the command, and all below it, to plain-text help, without conversions that change nothing.

    Plain help wraps and truncates no name however narrow the terminal is.
    """
    command.rich_markup_mode = None
    for param in command.params:
        _lean_param(param)
    help_option = command.get_help_option
    command.get_help_option = lambda context: _lean_param(help_option(context))
    for child in getattr(command, "commands", {}).values():
        lean(child)
    # The list of a group wraps instead of being truncated.
    command.get_short_help_str = lambda limit=0: " ".join((command.help or "").partition("\n\n")[0].split())
    return command


def _lean_param(param: Any) -> Any:
    if type(param) is TyperOption:
        param.__class__ = _LeanOption
    elif type(param) is TyperArgument:
        param.__class__ = _LeanArgument
    return param


def _processed(param: Any, by_typer: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    _refuse_empty(param, value)
    if _is_texts(param, value):
        value = list(value or ()) or None
    else:
        value = _converted(param, value)
        if not _needs_no_conversion(param, value):
            return by_typer(context, value)
    return value if param.callback is None else param.callback(context, param, value)


def _refuse_empty(param: Any, value: Any) -> None:
    """Refuses an empty text or path, which a shell makes of an unset variable; it never means "any" or "all"."""
    texts = value if isinstance(value, list | tuple) else (value,)
    if "" in texts and MAY_BE_EMPTY.isdisjoint(param.opts):
        option = isinstance(param, TyperOption)
        name = max(param.opts, key=len) if option else (param.metavar or param.name.upper())
        advice = "leave it out if it is not meant" if option or not param.required else "name one"
        raise UsageProblemError(f"{name} is empty: {advice}")


def _needs_no_conversion(param: Any, value: Any) -> bool:
    """True for an omitted optional value, and for a value that already has its type."""
    if param.multiple or param.nargs != 1:
        return False
    if value is None:
        return not param.required
    return type(value) is _type_of(param) and isinstance(value, (*_PLAIN, enum.Enum))


def _converted(param: Any, value: Any) -> Any:
    """Converts a text that certainly is a valid number or choice; otherwise returns the value unchanged."""
    kind = _type_of(param)
    if type(value) is not str or param.multiple or param.nargs != 1:
        return value
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next((each for each in kind if each.value == value), value)
    if kind not in _NUMBERS or not _NUMBERS[kind].fullmatch(value):
        return value
    number, info = kind(value), param.type_descriptor.parameter_info
    too_low = info.min is not None and number < info.min
    return value if too_low or (info.max is not None and number > info.max) else number


def _is_texts(param: Any, value: Any) -> bool:
    many = (param.nargs == -1 or param.multiple) and _type_of(param) == list[str] and param.default is None
    return many and bool(value or not param.required) and all(type(each) is str for each in value or ())


def _type_of(param: Any) -> Any:
    return getattr(getattr(param, "type_descriptor", None), "annotation", None)
