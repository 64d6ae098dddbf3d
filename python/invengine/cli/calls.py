"""Settings of a command that calls a server, without loading `invengine.settings` in the simple cases.

Flags, the environment and defaults are read here if they are certainly valid. A settings file, a variable of a server
or a value that may be invalid is left to `invengine.settings`, which returns the same settings or reports the error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from invengine.text import is_encodable

# The same prefix, file name and bound as in invengine.settings.
_PREFIX = "invengine_"
_CONFIG_FILE = "invengine.toml"
_TIMEOUT_MS_MAX = 365 * 24 * 3_600_000


class CallSettings(NamedTuple):
    """The target of a command, its timeout and its sales channel. The defaults are those of Settings."""

    target: str = "127.0.0.1:7411"
    timeout_ms: int = 10_000
    channel: str = ""


def call_settings(config: Path | None, **flags: Any) -> CallSettings:
    """Returns the effective settings for a call; flags that are None were not given. Raises SettingsError."""
    found = _plain(config, flags)
    if found is None:
        from invengine.settings import load

        settings = load(flags, config).settings
        found = CallSettings(settings.target, settings.timeout_ms, settings.channel)
    return found


def _plain(config: Path | None, flags: dict[str, Any]) -> CallSettings | None:
    """Returns the settings, or None if `invengine.settings` must read them."""
    if config is not None or Path(_CONFIG_FILE).is_file():
        return None
    values: dict[str, Any] = {}
    for variable, text in os.environ.items():
        if variable.lower().startswith(_PREFIX):
            if not is_encodable(text):
                return None
            values[variable.lower().removeprefix(_PREFIX)] = text
    if not values.keys() <= set(CallSettings._fields):
        return None
    values |= {name: value for name, value in flags.items() if value is not None}
    timeout = str(values.get("timeout_ms", CallSettings().timeout_ms))
    if not (timeout.isascii() and timeout.isdecimal()) or not 1 <= int(timeout) <= _TIMEOUT_MS_MAX:
        return None
    return CallSettings(**{**values, "timeout_ms": int(timeout)})
