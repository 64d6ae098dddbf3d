"""The key of the one command that a run sends: known before it is sent, so that it can be told however the run ends."""

from __future__ import annotations

from invengine.cli.exits import UsageProblemError

_key = ""


def command_key(key: str | None) -> str:
    """The key that was given with --key, or a new one if none was."""
    global _key
    if key == "":
        raise UsageProblemError("--key is empty: give a key, or leave --key out and one is made")
    if key is None:
        from invengine.client.draft import new_key

        key = new_key()
    _key = key
    return key


def key_of_run() -> str:
    """The key of this run's command; empty if it sends none."""
    return _key


def forget_key() -> None:
    """A new run begins."""
    global _key
    _key = ""
