"""Damaged messages: each has an answer with a reason, nothing changes, and the server neither ends nor grows."""

from __future__ import annotations

from pathlib import Path

from .limits import rss_bytes
from .malformed import Sender, unwanted
from .server_fixture import server_fixture

MESSAGES = 20_000
WARM_UP = 5_000
GROWTH_BYTES_MAX = 16 << 20


def test_damaged_messages_have_answers_and_leave_nothing(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as place:
        pid = place.start().process.pid
        before = place.digest()
        sender = Sender(place.address, seed=1)
        try:
            sender.send(WARM_UP)
            rss = rss_bytes(pid)
            sender.send(MESSAGES - WARM_UP)
        finally:
            sender.close()
        assert unwanted(sender.answers) == {}
        assert sender.answers.total() == MESSAGES
        assert {"OK", "INVALID_ARGUMENT INVALID_FIELD"} <= set(sender.answers)
        assert place.digest() == before
        assert rss_bytes(pid) - rss < GROWTH_BYTES_MAX
        place.running.stop()
