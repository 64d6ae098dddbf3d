"""What a run changes: the key of the one command that it sends, known before sending, or anything else.

Whatever ends such a run says so: nobody may take silence for "nothing happened".
"""

from __future__ import annotations

_key = ""
_changes = False


def command_key(key: str | None) -> str:
    """Returns the key that was given with --key, or a new one."""
    global _key
    if key is None:
        from invengine.client.draft import new_key

        key = new_key()
    _key = key
    return key


def key_of_run() -> str:
    """Returns the key of the command of this run; empty if it sends none."""
    return _key


def changes_something() -> None:
    """Declares that this run changes something without a key that its caller could repeat."""
    global _changes
    _changes = True


def has_changed() -> bool:
    """True if this run may have changed something."""
    return _changes or bool(_key)


def forget_run() -> None:
    """Forgets the key and the changes, for a new run."""
    global _key, _changes
    _key, _changes = "", False
