"""One engine of each kind for the whole run; each test uses its own names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .aged import Aged
from .inbox import Inbox
from .redis_server import RedisServer, redis_server
from .rules import Rules
from .server import start_server
from .shop import Shop
from .targets import SERVERS, TARGETS, EmbeddedTarget, ServerTarget, Target

REDIS = "redis"
# What a journal promises; the rest does not know which journal it is on.
ON_REDIS = (
    "test_keys", "test_sources", "test_submit", "test_holds", "test_expiry", "test_journal", "test_history",
    "test_contention",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the Redis journal to the files that are about it."""
    left_out = [item for item in items if _is_on_redis(item) and item.path.stem not in ON_REDIS]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_on_redis(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    return spec is not None and spec.params.get("target") == REDIS


class Targets:
    """Starts each target when it is first asked for."""

    redis: RedisServer
    """What the target of that name has its journal in."""

    def __init__(self, rooms: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._rooms = rooms
        self._stack = stack
        self._found: dict[str, Target] = {}

    def get(self, name: str) -> Target:
        """The target of this name."""
        if name not in self._found:
            self._found[name] = target = self._start(name)
            self._stack.callback(target.close)
        return self._found[name]

    def _start(self, name: str) -> Target:
        if name == "embedded":
            return EmbeddedTarget()
        if name == REDIS:
            directory = self._rooms.mktemp(name)
            program = str(shutil.which("redis-server"))
            self.redis = self._stack.enter_context(redis_server(program, directory / "redis"))
            return ServerTarget("native", start_server(directory, "--journal", "redis", "--redis-url", self.redis.url))
        # One door is tried on each kind of journal: the doors do not know which it is.
        journal = "file" if name == "native" else "memory"
        directory = self._rooms.mktemp(name)
        return ServerTarget(name, start_server(directory, "--door", name, "--journal", journal, "--time-scale", "1"))


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    """Every target, started when it is first used and ended well."""
    with ExitStack() as stack:
        yield Targets(tmp_path_factory, stack)


@pytest.fixture(scope="session", params=(*TARGETS, pytest.param(REDIS, marks=pytest.mark.needs_tool("redis-server"))))
def target(request: pytest.FixtureRequest, targets: Targets) -> Target:
    """Each target in turn."""
    return targets.get(request.param)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, targets: Targets) -> ServerTarget:
    """Each server in turn, for what only a wire shows."""
    found = targets.get(request.param)
    assert isinstance(found, ServerTarget)
    return found


@pytest.fixture(scope="session")
def aged(target: Target) -> Aged:
    """Expired holds on each target in turn."""
    return Aged(target)


@pytest.fixture
def shop(target: Target) -> Iterator[Shop]:
    """Names of the test's own; the levels that it touched add up in the end."""
    shop = Shop(target)
    yield shop
    shop.finish()


@pytest.fixture
def inbox(shop: Shop) -> Inbox:
    """A source of the test's own, with ten units of its item."""
    return Inbox(shop, on_hand=10)


@pytest.fixture
def server_shop(server: ServerTarget) -> Iterator[Shop]:
    """The same on servers only."""
    shop = Shop(server)
    yield shop
    shop.finish()


@pytest.fixture
def rules(shop: Shop) -> Iterator[Rules]:
    """Rules of authority that end with the test."""
    found = Rules(shop)
    yield found
    found.end()
