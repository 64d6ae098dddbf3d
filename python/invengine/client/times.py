"""Converts times: datetimes with a time zone for callers, google.protobuf types on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from invengine.errors import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_ms(ms: int) -> datetime:
    """A UTC datetime from milliseconds since 1970, exact."""
    return _EPOCH + timedelta(milliseconds=ms)


def stamp_ms(stamp: Any) -> int:
    """Milliseconds since 1970 of a google.protobuf.Timestamp, rounded down."""
    return int(stamp.seconds) * 1000 + int(stamp.nanos) // 1_000_000


def stamp_time(stamp: Any) -> datetime:
    """A UTC datetime of a google.protobuf.Timestamp, rounded down to microseconds."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def put_time(stamp: Any, moment: datetime, field: str = "time") -> None:
    """Writes a datetime into a google.protobuf.Timestamp. A datetime without a time zone is refused."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidArgument(field, f"a datetime with a time zone, such as datetime.now(UTC); got {moment!r}")
    since = moment - _EPOCH
    stamp.seconds = since.days * 86_400 + since.seconds
    stamp.nanos = since.microseconds * 1000


def seconds_and_nanos(seconds: float) -> tuple[int, int]:
    """The fields of a google.protobuf.Duration of this length, to the nanosecond."""
    whole = int(seconds)
    return (whole, 0) if whole == seconds else divmod(round(seconds * 1_000_000_000), 1_000_000_000)


def put_seconds(duration: Any, seconds: float) -> None:
    """Writes seconds into a google.protobuf.Duration, to the nanosecond."""
    duration.seconds, duration.nanos = seconds_and_nanos(seconds)


def duration_s(duration: Any) -> float:
    """Seconds of a google.protobuf.Duration."""
    return float(duration.seconds + duration.nanos / 1e9)
