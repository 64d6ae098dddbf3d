"""Settings of invengine: flags override the environment, which overrides one TOML file, which overrides the defaults.

One flat set of names: the flag `--time-scale`, the variable `INVENGINE_TIME_SCALE` and the TOML key `time_scale` are
the same setting. `load()` also reports where each value came from, which `invengine config show` prints.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

PREFIX = "INVENGINE_"
CONFIG_VARIABLE = "INVENGINE_CONFIG"
CONFIG_FILE = "invengine.toml"
HIDDEN = "***"
# The longest timeout of the client, 365 days.
TIMEOUT_MS_MAX = 365 * 24 * 3_600_000


class JournalKind(StrEnum):
    """Where the journal is stored."""

    FILE = "file"
    REDIS = "redis"
    MEMORY = "memory"


class RedisAck(StrEnum):
    """When a frame of the Redis journal counts as durable."""

    FSYNC = "fsync"
    EVERYSEC = "everysec"
    REPLICATED = "replicated"
    MEMORY = "memory"


class DoorKind(StrEnum):
    """The listener on the address."""

    NATIVE = "native"
    PYTHON = "python"


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SettingsError(ValueError):
    """A setting cannot be used; the message is one line: which one, where it came from and what to do."""


class Settings(BaseSettings):
    """Every setting with its default. Durations carry their unit in the name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=False)

    address: str = Field("127.0.0.1:7411", description="where `serve` listens: HOST:PORT or unix:PATH")
    target: str = Field("127.0.0.1:7411", description="the server that the other commands call")
    timeout_ms: int = Field(10_000, ge=1, le=TIMEOUT_MS_MAX, description="how long a command waits for its answer")
    channel: str = Field("", description="the sales channel that commands are for; empty is the operator")
    journal: JournalKind = Field(JournalKind.FILE, description="file or redis (durable), or memory (lost at exit)")
    directory: Path = Field(
        Path("invengine-data"),
        description="where the file journal lives; beside a Redis journal, what was acknowledged",
    )
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379"), description="where the Redis journal lives")
    redis_username: str = Field("", description="user of that Redis, if the URL names none")
    redis_password: SecretStr = Field(SecretStr(""), description="its password, if the URL has none")
    redis_ca_file: Path | None = Field(None, description="certificates (PEM) to trust instead of the system's")
    redis_ack: RedisAck = Field(RedisAck.FSYNC, description="durable means: fsync, everysec, replicated or memory")
    ledger: str = Field("main", min_length=1, max_length=128, description="name of the ledger")
    door: DoorKind = Field(DoorKind.NATIVE, description="native (Rust) or python (grpc.aio) listener")
    threads: int = Field(1, ge=1, le=256, description="threads of the native door")
    time_scale: float = Field(1.0, gt=0, le=1_000_000, description="how much faster than the clock engine time runs")
    auto_create: bool = Field(False, description="create items and locations by mention; development only")
    in_flight_max: int = Field(0, ge=0, description="commands that may wait at once; 0 is the engine's own limit")
    journal_file_bytes: int = Field(0, ge=0, description="size of one journal file; 0 is the engine's own size")
    snapshot_journal_bytes: int = Field(
        256 << 20, ge=0, description="bytes of journal from snapshot to snapshot; 0: any"
    )
    snapshot_interval_ms: int = Field(3_600_000, ge=0, description="longest time from snapshot to snapshot; 0: any")
    archive_ms: int = Field(
        30 * 24 * 3_600_000, ge=0, description="how long old journal stays in the archive; 0 is for ever"
    )
    archive_bytes_max: int = Field(0, ge=0, description="most bytes that the archive keeps; 0: any, in Redis 256 MiB")
    refusal_bytes_max: int = Field(
        0, ge=0, description="memory for refusals that callers want remembered, bytes; 0 is the engine's own, 256 MiB"
    )
    force_empty: bool = Field(False, description="set aside a journal that cannot be recovered; only as a flag")
    accept_clock: bool = Field(False, description="this machine's clock is right; only as a flag")
    metrics_address: str = Field("127.0.0.1:9411", description="where /metrics listens; empty for no metrics")
    connection_idle_ms: int = Field(
        300_000, ge=0, description="a connection without a call for so long is closed; 0 is never"
    )
    drain_timeout_ms: int = Field(10_000, ge=0, le=600_000, description="how long a shutdown waits for answers")
    insecure: bool = Field(False, description="listen on addresses that other machines reach, without identities")
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="console or json")
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")


# Settings for one start only, by the person who starts the server.
_FLAGS_ONLY = ("force_empty", "accept_clock")
_LAYERS = ("default", "file", "environment", "flag")
_DURABLE = (JournalKind.FILE, JournalKind.REDIS)
_REDIS = (JournalKind.REDIS,)
_FILES = (JournalKind.FILE,)
# The journals that use a setting; a setting that is not listed concerns all of them.
USED_BY: Mapping[str, tuple[JournalKind, ...]] = {
    "directory": _DURABLE,
    "redis_url": _REDIS,
    "redis_username": _REDIS,
    "redis_password": _REDIS,
    "redis_ca_file": _REDIS,
    "redis_ack": _REDIS,
    "journal_file_bytes": _FILES,
    "snapshot_journal_bytes": _DURABLE,
    "snapshot_interval_ms": _DURABLE,
    "archive_ms": _DURABLE,
    "archive_bytes_max": _DURABLE,
    "force_empty": _FILES,
    "accept_clock": _DURABLE,
}
_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each name a description of where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


def load(flags: Mapping[str, Any] | None = None, config: Path | None = None) -> Loaded:
    """Returns the effective settings. `flags` whose value is None count as not given.

    `config` names the TOML file; else INVENGINE_CONFIG; else invengine.toml in the working directory, if there is one.
    Raises SettingsError for a value or a name that cannot be used.
    """
    path = _config_path(config)
    layers = [
        ("default", {}),
        *([(f"file {path}", _read_toml(path))] if path else []),
        ("environment", _environment()),
        ("flag", {name: value for name, value in (flags or {}).items() if value is not None}),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for layer, given in layers:
        values.update(given)
        origins.update({name: _origin(layer, name) for name in given})
    for name in _FLAGS_ONLY:
        if not origins[name].startswith(("default", "flag")):
            raise SettingsError(
                f"{name} ({origins[name]}): remove it there; give --{name.replace('_', '-')} for one start"
            )
    try:
        return Loaded(Settings(**values), origins)
    except ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None


def check_used(loaded: Loaded) -> Loaded:
    """Returns the settings, or refuses one that was given although the journal does not use it.

    A setting from a weaker layer than the choice of the journal is no mistake: a file may describe a journal that a
    flag replaces. Raises SettingsError.
    """
    kind = loaded.settings.journal
    chosen = _layer(loaded.origins["journal"])
    for name, kinds in USED_BY.items():
        origin = loaded.origins[name]
        if kind not in kinds and origin != "default" and _layer(origin) >= chosen:
            others = " or ".join(f"--journal {each}" for each in kinds)
            raise SettingsError(
                f"{name} ({origin}): a journal of kind {kind} does not use it; remove it, or choose {others}"
            )
    return loaded


def _layer(origin: str) -> int:
    return _LAYERS.index(origin.split(" ", 1)[0])


def shown(settings: Settings, name: str) -> object:
    """The value of a setting for display, without passwords."""
    value = getattr(settings, name)
    if not isinstance(value, SecretStr):
        return value
    text = value.get_secret_value()
    if name != "redis_url":
        return HIDDEN if text else ""
    # The last @ ends the password: the end of a password that contains an unescaped @ must not be shown.
    scheme, separator, rest = text.partition("://")
    user, at, place = rest.rpartition("@")
    if not separator:
        return HIDDEN
    return f"{scheme}://{user.partition(':')[0]}:{HIDDEN}@{place}" if at and ":" in user else text


def _origin(layer: str, name: str) -> str:
    if layer == "environment":
        return f"environment {PREFIX}{name.upper()}"
    return f"flag --{name.replace('_', '-')}" if layer == "flag" else layer


def _config_path(config: Path | None) -> Path | None:
    if config is not None:
        return config
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            advice = f"did you mean {near[0]}?" if near else "`invengine config show` lists the names."
            raise SettingsError(f"{path} has an unknown setting {name!r}: {advice}")
    return values


def _environment() -> dict[str, Any]:
    found = dict(EnvSettingsSource(Settings)())
    for name, value in found.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            # Python reads bytes that are not UTF-8 as halves of surrogate pairs, which nothing can send.
            raise SettingsError(f"{name} ({_origin('environment', name)}) is no text: write it in UTF-8") from None
    return found


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    message = first["msg"][0].lower() + first["msg"][1:]
    given = "" if name in _SECRETS else f", got {first['input']!r}"
    return f"{name} ({origins.get(name, 'default')}): {message}{given}"
