"""The peer is a fair one: its script keeps the same promises, and its books are checked like ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from invengine.bench import redis_peer
from invengine.bench.machine import ProgramError, cores
from invengine.bench.redis_peer import HOLDS, STOCK, RedisPeer, RedisShape, requests_per_s
from invengine.bench.rounds import Plan
from invengine.bench.server import STOCK_UNITS

HOUR_MS = 3_600_000


def test_the_rate_is_read_from_the_csv() -> None:
    out = '"test","rps","avg_latency_ms"\n"EVALSHA ab 3 s h key:__rand_int__ 1 9 9","23456.75","1.782"\n'
    assert requests_per_s(out) == 23456.75


@pytest.mark.parametrize("out", ["", '"test","rps"\n', "Could not connect to Redis at 127.0.0.1:1: Connection refused"])
def test_no_rate_is_an_error(out: str) -> None:
    with pytest.raises(ProgramError, match="gave no rate"):
        requests_per_s(out)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisPeer]:
    """A Redis of its own with stock in it."""
    with redis_peer.serving(Plan(tmp_path, cores(), rounds=1, seconds=0.2)) as found:
        yield found


def reserve(redis: RedisPeer, key: str, units: int = 1, ttl_ms: int = HOUR_MS) -> str:
    """Calls the script."""
    return str(redis.client.evalsha(redis.script, 3, STOCK, HOLDS, key, units, ttl_ms, HOUR_MS))


def books(redis: RedisPeer) -> tuple[int, int]:
    """Units left and holds."""
    client: Any = redis.client
    return int(client.get(STOCK)), int(client.zcard(HOLDS))


@pytest.mark.needs_tool("redis-server")
def test_a_reserve_takes_units_and_leaves_a_hold_with_an_end(redis: RedisPeer) -> None:
    hold = reserve(redis, "key:1", 3)
    assert books(redis) == (STOCK_UNITS - 3, 1)
    found = redis.client.hgetall(hold)
    assert (found["stock"], found["units"]) == (STOCK, "3")
    assert redis.client.zscore(HOLDS, hold) == float(found["end_ms"])


@pytest.mark.needs_tool("redis-server")
def test_a_key_reserves_once(redis: RedisPeer) -> None:
    assert reserve(redis, "key:1", 3) == reserve(redis, "key:1", 3)
    assert books(redis) == (STOCK_UNITS - 3, 1)
    assert reserve(redis, "key:2", 3) != reserve(redis, "key:1", 3)


@pytest.mark.needs_tool("redis-server")
def test_more_than_there_is_changes_nothing(redis: RedisPeer) -> None:
    redis.client.set(STOCK, 2)
    assert reserve(redis, "key:1", 3) == "INSUFFICIENT_STOCK"
    assert books(redis) == (2, 0)
    assert redis.client.keys("*key:1*") == []
    reserve(redis, "key:2", 2)
    assert books(redis) == (0, 1)


@pytest.mark.needs_tool("redis-server")
def test_what_expired_is_sold_again(redis: RedisPeer) -> None:
    redis.client.set(STOCK, 5)
    # An end that has passed when the next reserve looks.
    old = reserve(redis, "key:old", 4, ttl_ms=-1)
    assert books(redis) == (1, 1)
    new = reserve(redis, "key:new", 5)
    assert books(redis) == (0, 1)
    assert redis.client.zrange(HOLDS, 0, -1) == [new]
    assert not redis.client.exists(old)


@pytest.mark.needs_tool("redis-server")
def test_the_books_are_checked(redis: RedisPeer) -> None:
    reserve(redis, "key:1")
    redis.reserves = 1
    assert redis.findings() == []
    redis.reserves = 2
    assert redis.findings() == ["redis: of 2 reserves 1 were sent and 1 made"]
    redis.reserves = 1
    redis.client.incr(STOCK)
    assert "are not the" in redis.findings()[0]
    redis.client.decr(STOCK)
    redis.client.config_set("appendfsync", "everysec")
    assert redis.findings() == ["redis: does not sync every write"]


@pytest.mark.needs_tool("redis-server")
def test_redis_own_load_generator_reserves(redis: RedisPeer) -> None:
    assert redis.saturate(RedisShape(10, 4)).value > 0
    left, holds = books(redis)
    assert holds == STOCK_UNITS - left > redis_peer.FIRST_REQUESTS / 2
    assert redis.findings() == []
