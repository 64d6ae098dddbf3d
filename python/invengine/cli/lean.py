"""Typer commands that load neither rich for their help nor pydantic for a plain text or number."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperArgument, TyperOption

_PLAIN = (str, int, float, bool)
# Texts that certainly are numbers; pydantic checks any other text.
_NUMBERS = {int: re.compile(r"-?[0-9]{1,18}"), float: re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")}


class _LeanOption(TyperOption):
    def process_value(self, context: Any, value: Any) -> Any:
        value = _number(self, value)
        return (
            _with_callback(self, context, value)
            if _needs_no_conversion(self, value)
            else super().process_value(context, value)
        )


class _LeanArgument(TyperArgument):
    def process_value(self, context: Any, value: Any) -> Any:
        if _is_texts(self, value):
            return _with_callback(self, context, list(value or ()) or None)
        return (
            _with_callback(self, context, value)
            if _needs_no_conversion(self, value)
            else super().process_value(context, value)
        )


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


def _with_callback(param: Any, context: Any, value: Any) -> Any:
    return value if param.callback is None else param.callback(context, param, value)


def _needs_no_conversion(param: Any, value: Any) -> bool:
    """True for an omitted optional value, and for a value that already has its type."""
    if param.multiple or param.nargs != 1:
        return False
    return (value is None and not param.required) or (type(value) in _PLAIN and type(value) is _type_of(param))


def _number(param: Any, value: Any) -> Any:
    """Converts a text to a number if any number is valid; otherwise returns the value unchanged."""
    kind = _type_of(param)
    if type(value) is not str or kind not in _NUMBERS or param.multiple or param.nargs != 1:
        return value
    return kind(value) if not param.type_descriptor.is_ranged and _NUMBERS[kind].fullmatch(value) else value


def _is_texts(param: Any, value: Any) -> bool:
    many = param.nargs == -1 and _type_of(param) == list[str] and param.default is None
    return many and bool(value or not param.required) and all(type(each) is str for each in value or ())


def _type_of(param: Any) -> Any:
    return getattr(getattr(param, "type_descriptor", None), "annotation", None)
