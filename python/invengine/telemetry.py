"""Telemetry for operators: log lines and Prometheus metrics.

A log entry never spans lines: control characters of values are escaped and long values are truncated. Metrics are
read from the engine's counters at each scrape; no label is ever a SKU, an order or a key.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

Stats = MutableMapping[str, Any]

VALUE_CHARS_MAX = 512
TRACE_LINES_MAX = 60

_CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def configure_logging(log_format: str = "console", level: str = "info", stream: TextIO | None = None) -> None:
    """Sends log lines to `stream` (stderr by default), as readable lines or as one JSON object per line."""
    out = stream or sys.stderr
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty() and not os.environ.get("NO_COLOR"), sort_keys=False
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render_exception,
            escape_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def escape(text: str) -> str:
    """Makes a text safe for one line of a log or a terminal: control characters escaped, at most 512 characters."""
    cut = text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text)} characters)"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut)


def escape_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escapes every value of a log event (a structlog processor)."""
    return {escape(str(key)): value if key == "exception" else _escaped(value) for key, value in event.items()}


def _escaped(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    return escape(value if isinstance(value, str) else repr(value))


def _render_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()[1]
    if isinstance(raised, BaseException):
        lines = "".join(traceback.format_exception(raised)).rstrip("\n").split("\n")
        # The text of an exception may come from outside: its lines are marked, so that none passes for a log line.
        event["exception"] = "\n".join(f"  | {escape(line)}" for line in lines[-TRACE_LINES_MAX:])
    return event


class CallHistogram:
    """Counts the calls of the Python service and measures their duration, by method and code."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "invengine_python_call_seconds",
            "Time to answer a call in the Python service, by method and status code.",
            ("method", "code"),
            registry=registry,
            buckets=_CALL_SECONDS,
        )

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Records one call."""
        self._seconds.labels(method.lstrip("/"), code).observe(seconds)


class EngineCollector(Collector):
    """Turns the engine's counters into metrics, at each scrape. `read_stats` returns them as JSON."""

    def __init__(self, read_stats: Callable[[], str], version: str = "") -> None:
        self._read_stats = read_stats
        self._version = version

    def collect(self) -> Iterable[Any]:
        """Yields every metric family of the engine."""
        stats: Stats = json.loads(self._read_stats())
        yield _build(self._version)
        yield from _commands(stats.get("commands", {}))
        for name, key, text in _GAUGES:
            yield GaugeMetricFamily(name, text, value=float(stats.get(key, 0)))
        for name, key, text in _GAUGES_MS:
            yield GaugeMetricFamily(name, text, value=stats.get(key, 0) / 1000)
        for name, key, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=float(stats.get(key, 0)))
        yield from _snapshots(stats.get("snapshots", {}))
        gap = stats.get("sequence", 0) - stats.get("durable_sequence", 0)
        yield GaugeMetricFamily("invengine_durable_gap_events", "Events decided but not yet durable.", value=gap)
        for name, key, text in _HISTOGRAMS:
            yield _histogram(name, text, stats.get(key, {}))

    def describe(self) -> Iterable[Any]:
        """Returns nothing: names do not depend on the engine, and registering must not read it."""
        return ()


class DoorCollector(Collector):
    """Turns a door's counters into metrics, at each scrape. `read_stats` returns them as JSON; gauges it may lack."""

    def __init__(self, read_stats: Callable[[], str]) -> None:
        self._read_stats = read_stats

    def collect(self) -> Iterable[Any]:
        """Yields every metric family of the door."""
        stats: Stats = json.loads(self._read_stats())
        for name, key, text in _DOOR_GAUGES:
            if key in stats:
                yield GaugeMetricFamily(name, text, value=float(stats[key]))
        bounds = CounterMetricFamily("invengine_door_bounds", "How often a bound of the door acted.", labels=["bound"])
        for bound, count in stats.get("bounds", {}).items():
            bounds.add_metric([bound], count)
        yield bounds

    def describe(self) -> Iterable[Any]:
        """Returns nothing: names do not depend on the door, and registering must not read it."""
        return ()


def metrics_registry(read_stats: Callable[[], str], version: str) -> CollectorRegistry:
    """Creates the registry of one server with the metrics of its engine."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(read_stats, version))
    return registry


class MetricsListener:
    """Serves GET /metrics on `host:port` from a thread of its own until `close`. Raises OSError if it is in use."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_GAUGES = (
    ("invengine_sequence", "sequence", "Position of the ledger: its last event."),
    ("invengine_durable_sequence", "durable_sequence", "Last event that is durable."),
    ("invengine_writer_epoch", "writer_epoch", "Which writer of the journal this is."),
    ("invengine_commands_in_flight", "in_flight", "Commands taken and not yet answered."),
    ("invengine_open_reservations", "open_reservations", "Reservations with units reserved or allocated."),
    ("invengine_journal_bytes", "journal_bytes", "Bytes of frames in the journal."),
    ("invengine_keys", "keys", "Idempotency keys remembered."),
    ("invengine_refusals", "refusals", "Refusals remembered because their callers asked for it."),
    ("invengine_refusal_bytes", "refusal_bytes", "Memory that remembered refusals take, roughly."),
    ("invengine_poisoned", "poisoned", "1 after the journal failed: the engine answers nothing more."),
    ("invengine_draining", "draining", "1 while the engine refuses new commands."),
    ("invengine_lost_events", "lost_events", "Acknowledged events that Redis no longer had at the last start."),
    ("invengine_recovering", "recovering", "1 while the engine reads its journal."),
    ("invengine_recovery_done_bytes", "recovery_done_bytes", "Bytes of snapshot and journal read while recovering."),
    ("invengine_recovery_of_bytes", "recovery_of_bytes", "Bytes that the recovery has to read, about."),
)
_DOOR_GAUGES = (
    ("invengine_door_connections", "connections", "Connections of the native door."),
    ("invengine_door_calls", "calls", "Calls under way at the native door."),
    ("invengine_door_answer_bytes", "answer_bytes", "Bytes of answers that their callers have not taken."),
    ("invengine_door_partial_bytes", "partial_bytes", "Bytes of messages that have come in part."),
)
_GAUGES_MS = (
    ("invengine_engine_time_seconds", "engine_time_ms", "Engine time, as seconds since 1970."),
    ("invengine_dedupe_window_seconds", "effective_window_ms", "How far back keys are remembered now."),
    (
        "invengine_refusal_window_seconds",
        "effective_refusal_window_ms",
        "How far back all refusals are remembered now whose callers asked for it.",
    ),
    ("invengine_wall_clock_drift_seconds", "wall_clock_drift_ms", "How far the wall clock jumped since the start."),
)
_COUNTERS = (
    ("invengine_frames", "frames", "Frames appended to the journal since the start."),
    ("invengine_wall_clock_jumps", "wall_clock_jumps", "Jumps of the wall clock since the start."),
    ("invengine_expired_reservations", "expired", "Reservations that expired since the start."),
)
_HISTOGRAMS = (
    ("invengine_commit_seconds", "commit_seconds", "Time from taking a command to its durable answer."),
    ("invengine_sync_seconds", "sync_seconds", "Time of one sync of the journal."),
    ("invengine_frame_commands", "frame_commands", "Commands in one frame."),
)


def _build(version: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily("invengine_build", "1, with the version as a label.", labels=["version"])
    family.add_metric([version], 1)
    return family


def _commands(commands: Stats) -> Iterator[CounterMetricFamily]:
    outcomes = CounterMetricFamily("invengine_commands", "Commands answered.", labels=["command", "outcome"])
    reasons = CounterMetricFamily("invengine_rejections", "Commands refused.", labels=["command", "reason"])
    for command, counts in commands.items():
        rejected = counts.get("rejected", {})
        outcomes.add_metric([command, "accepted"], counts.get("accepted", 0))
        outcomes.add_metric([command, "replayed"], counts.get("replayed", 0))
        outcomes.add_metric([command, "rejected"], sum(rejected.values()))
        for reason, count in rejected.items():
            reasons.add_metric([command, reason], count)
    yield outcomes
    yield reasons


def _snapshots(stats: Stats) -> Iterator[Any]:
    yield GaugeMetricFamily(
        "invengine_snapshot_sequence", "Position of the newest snapshot.", value=stats.get("sequence", 0)
    )
    yield GaugeMetricFamily("invengine_snapshot_bytes", "Bytes of the newest snapshot.", value=stats.get("bytes", 0))
    written = CounterMetricFamily("invengine_snapshots", "Snapshots since the start.", labels=["outcome"])
    written.add_metric(["written"], stats.get("written", 0))
    written.add_metric(["failed"], stats.get("failed", 0))
    yield written


def _histogram(name: str, text: str, stats: Stats) -> HistogramMetricFamily:
    bounds = [*(str(float(bound)) for bound in stats.get("bounds", ())), "+Inf"]
    counts = list(stats.get("counts", ()))
    counts += [0] * (len(bounds) - len(counts))
    buckets, total = [], 0
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=stats.get("sum", 0.0))
