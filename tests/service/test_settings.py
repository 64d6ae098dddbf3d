"""Settings: which source wins, and the message for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from invengine import _core
from invengine.service.lifetime import engine_settings
from invengine.settings import USED_BY, DoorKind, JournalKind, Settings, SettingsError, check_used, load


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("INVENGINE_CONFIG", "INVENGINE_ADDRESS", "INVENGINE_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_flags_win_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("invengine.toml").write_text('threads = 2\nledger = "file"\nchannel = "file"\n')
    monkeypatch.setenv("INVENGINE_THREADS", "3")
    monkeypatch.setenv("INVENGINE_LEDGER", "environment")
    loaded = load({"threads": 4, "address": None})
    found = {
        name: (getattr(loaded.settings, name), loaded.origins[name])
        for name in ("threads", "ledger", "channel", "door", "address")
    }
    assert found == {
        "threads": (4, "flag --threads"),
        "ledger": ("environment", "environment INVENGINE_LEDGER"),
        "channel": ("file", "file invengine.toml"),
        "door": (DoorKind.NATIVE, "default"),
        "address": ("127.0.0.1:7411", "default"),
    }


def test_the_file_can_be_named_by_flag_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (5, 6):
        (tmp_path / f"{number}.toml").write_text(f"threads = {number}\n")
    monkeypatch.setenv("INVENGINE_CONFIG", str(tmp_path / "5.toml"))
    assert load().settings.threads == 5
    assert load(config=tmp_path / "6.toml").settings.threads == 6


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("thread = 2", ["thread", "did you mean threads?"]),
        ("zzz = 2", ["zzz", "config show"]),
        ("threads = 0", ["threads (file invengine.toml)", "greater than or equal to 1", "got 0"]),
        ('door = "rust"', ["door (file invengine.toml)", "'native' or 'python'"]),
        ("threads = ", ["not valid TOML"]),
    ],
)
def test_a_bad_file_is_one_line_with_the_remedy(toml: str, words: list[str]) -> None:
    Path("invengine.toml").write_text(toml)
    with pytest.raises(SettingsError) as caught:
        load()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        ({"time_scale": 0}, {}, "time_scale (flag --time-scale)"),
        ({}, {"INVENGINE_THREADS": "many"}, "threads (environment INVENGINE_THREADS)"),
    ],
)
def test_a_bad_value_names_its_origin(
    flags: dict[str, Any], environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(flags)
    assert words in str(caught.value)


# Another value than the default, of each setting that an engine takes.
_OTHER: dict[str, Any] = {
    "ledger": "other",
    "time_scale": 2.0,
    "auto_create": True,
    "in_flight_max": 7,
    "refusal_bytes_max": 1 << 20,
    "directory": "elsewhere",
    "redis_url": "redis://127.0.0.1:1",
    "redis_username": "app",
    "redis_password": "secret",
    "redis_ca_file": "ca.pem",
    "redis_ack": "everysec",
    "journal_file_bytes": 1 << 20,
    "snapshot_journal_bytes": 5,
    "snapshot_interval_ms": 5,
    "archive_ms": 5,
    "archive_bytes_max": 5,
    "force_empty": True,
    "accept_clock": True,
}
# What other parts of a server, or of a client, do something with, whatever the journal.
_ELSEWHERE = {
    *("address", "target", "timeout_ms", "channel", "door", "threads", "metrics_address", "drain_timeout_ms"),
    *("insecure", "log_format", "log_level", "connection_idle_ms"),
}


def test_every_setting_is_known_to_the_walk() -> None:
    assert _OTHER.keys() | _ELSEWHERE | {"journal"} == Settings.model_fields.keys()
    assert USED_BY.keys() <= _OTHER.keys()


@pytest.mark.parametrize("kind", list(JournalKind))
@pytest.mark.parametrize("name", list(_OTHER))
def test_every_setting_is_used_by_every_journal_or_refused(name: str, kind: JournalKind) -> None:
    reported = json.loads(engine_settings(check_used(load({"journal": kind})).settings))
    given = load({"journal": kind, name: _OTHER[name]})
    if kind not in USED_BY.get(name, (kind,)):
        with pytest.raises(SettingsError, match=f"^{name} .flag --{name.replace('_', '-')}.: a journal of kind {kind}"):
            check_used(given)
        return
    changed = json.loads(engine_settings(check_used(given).settings))
    assert changed.keys() - {name} == reported.keys() - {name}
    assert changed[name] != reported.get(name), "the engine hears of it"
    _core.examine(json.dumps(changed))


@pytest.mark.parametrize("kind", list(JournalKind))
@pytest.mark.parametrize("name", list(USED_BY))
def test_an_engine_refuses_what_its_journal_does_not_use(name: str, kind: JournalKind, tmp_path: Path) -> None:
    value = _OTHER[name] if name != "directory" else str(tmp_path)
    settings = json.dumps({"journal": kind, name: value})
    if kind in USED_BY[name]:
        _core.examine(settings)
        return
    with pytest.raises(_core.EngineFault, match=f"^{name}: a journal in .* does not use it"):
        _core.Engine.open(settings)


def test_a_setting_of_a_weaker_layer_than_the_journal_is_overruled_and_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("invengine.toml").write_text('journal = "redis"\nredis_url = "redis://127.0.0.1:1"\n')
    assert check_used(load()).settings.journal is JournalKind.REDIS
    assert check_used(load({"journal": "file"})).settings.journal is JournalKind.FILE
    Path("invengine.toml").write_text('journal = "file"\nredis_url = "redis://127.0.0.1:1"\n')
    with pytest.raises(SettingsError, match=r"redis_url \(file invengine\.toml\): a journal of kind file"):
        check_used(load())
    Path("invengine.toml").unlink()
    monkeypatch.setenv("INVENGINE_REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"redis_url \(environment INVENGINE_REDIS_URL\)"):
        check_used(load())


@pytest.mark.parametrize("name", ["force_empty", "accept_clock"])
def test_what_is_for_one_start_is_a_flag(name: str) -> None:
    Path("invengine.toml").write_text(f"{name} = true\n")
    with pytest.raises(SettingsError, match=f"give --{name.replace('_', '-')} for one start"):
        load()


@pytest.mark.parametrize("given", ["file", "environment"])
def test_emptying_a_journal_needs_a_flag(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if given == "file":
        Path("invengine.toml").write_text("force_empty = true\n")
    else:
        monkeypatch.setenv("INVENGINE_FORCE_EMPTY", "1")
    with pytest.raises(SettingsError, match="give --force-empty for one start") as caught:
        load()
    assert given in str(caught.value)


def test_emptying_a_journal_for_one_start() -> None:
    assert load({"force_empty": True}).settings.force_empty
    assert not load().settings.force_empty


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        load(config=tmp_path / "absent.toml")
