"""Settings: which source wins, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invengine.settings import DoorKind, SettingsError, load


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
def test_a_bad_file_is_one_line_that_says_what_to_do(toml: str, words: list[str]) -> None:
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


@pytest.mark.parametrize("given", ["file", "environment"])
def test_emptying_a_journal_is_asked_for_by_a_flag_only(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
