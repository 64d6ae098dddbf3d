"""The key of the one command that a run sends: known before sending, so that it can be printed at any end."""

from __future__ import annotations

from invengine.cli.exits import UsageProblemError

_key = ""


def command_key(key: str | None) -> str:
    """Returns the key that was given with --key, or a new one."""
    global _key
    if key == "":
        raise UsageProblemError("--key is empty: give a key, or leave --key out and one is made")
    if key is None:
        from invengine.client.draft import new_key

        key = new_key()
    _key = key
    return key


def key_of_run() -> str:
    """Returns the key of the command of this run; empty if it sends none."""
    return _key


def forget_key() -> None:
    """Forgets the key, for a new run."""
    global _key
    _key = ""
