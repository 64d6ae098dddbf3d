"""Log lines stay one line; metrics have base units and bounded labels."""

from __future__ import annotations

import io
import json

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from invengine.telemetry import CallHistogram, configure_logging, metrics_registry

STATS = {
    "sequence": 12,
    "durable_sequence": 10,
    "writer_epoch": 3,
    "engine_time_ms": 1_500,
    "in_flight": 4,
    "open_reservations": 5,
    "frames": 6,
    "journal_bytes": 4096,
    "poisoned": False,
    "draining": True,
    "commands": {"Reserve": {"accepted": 7, "replayed": 1, "rejected": {"INSUFFICIENT_STOCK": 2, "UNKNOWN_SKU": 1}}},
    "sync_seconds": {"bounds": [0.001, 0.01], "counts": [3, 2, 1], "sum": 0.5},
    "commit_seconds": {"bounds": [0.001], "counts": [1, 1], "sum": 0.1},
    "frame_commands": {"bounds": [1, 8], "counts": [1, 1, 0], "sum": 9},
    "effective_window_ms": 86_400_000,
    "effective_refusal_window_ms": 3_600_000,
    "refusals": 11,
    "refusal_bytes": 1_500,
    "keys": 9,
    "expired": 2,
}


def samples(stats: dict[str, object]) -> dict[tuple[str, tuple[str, ...]], float]:
    registry = metrics_registry(lambda: json.dumps(stats), "1.0")
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("invengine_commands_total", ("Reserve", "accepted"), 7),
        ("invengine_commands_total", ("Reserve", "replayed"), 1),
        ("invengine_commands_total", ("Reserve", "rejected"), 3),
        ("invengine_rejections_total", ("Reserve", "INSUFFICIENT_STOCK"), 2),
        ("invengine_durable_gap_events", (), 2),
        ("invengine_commands_in_flight", (), 4),
        ("invengine_open_reservations", (), 5),
        ("invengine_journal_bytes", (), 4096),
        ("invengine_draining", (), 1),
        ("invengine_poisoned", (), 0),
        ("invengine_dedupe_window_seconds", (), 86_400),
        ("invengine_refusal_window_seconds", (), 3_600),
        ("invengine_refusals", (), 11),
        ("invengine_refusal_bytes", (), 1_500),
        ("invengine_engine_time_seconds", (), 1.5),
        ("invengine_sync_seconds_bucket", ("0.001",), 3),
        ("invengine_sync_seconds_bucket", ("0.01",), 5),
        ("invengine_sync_seconds_bucket", ("+Inf",), 6),
        ("invengine_sync_seconds_count", (), 6),
        ("invengine_sync_seconds_sum", (), 0.5),
        ("invengine_expired_reservations_total", (), 2),
        ("invengine_build", ("1.0",), 1),
    ],
)
def test_a_metric(name: str, labels: tuple[str, ...], value: float) -> None:
    assert samples(STATS)[name, labels] == value


def test_an_engine_without_counters_still_has_every_metric() -> None:
    assert {name for name, labels in samples({}) if not labels} == {
        name for name, labels in samples(STATS) if not labels
    }


def test_every_name_has_the_prefix() -> None:
    assert all(name.startswith("invengine_") for name, _ in samples(STATS))


def test_calls_of_the_python_service_are_counted_by_method_and_code() -> None:
    registry = metrics_registry(lambda: "{}", "1.0")
    CallHistogram(registry).observe("/invengine.v1.A/B", "NOT_FOUND", 0.002)
    text = generate_latest(registry).decode()
    assert 'invengine_python_call_seconds_count{code="NOT_FOUND",method="invengine.v1.A/B"} 1.0' in text


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize(
    "evil", ["a\r\nfake line", "\x1b[31mred", "x" * 1_000_000, "\u2028split", "nul\x00"], ids=range(5)
)
def test_a_value_never_breaks_out_of_its_line(log_format: str, evil: str) -> None:
    out = io.StringIO()
    configure_logging(log_format, "info", out)
    structlog.get_logger("test").info(evil, key=evil, nested={"k": evil}, raw=evil.encode())
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.isascii() or text.replace("\n", "").isprintable()
    assert "\x1b" not in text
    assert len(text) < 10_000


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_an_exception_cannot_forge_a_line(log_format: str) -> None:
    out = io.StringIO()
    configure_logging(log_format, "info", out)
    try:
        raise ValueError("bad\n2026-11-24 [info] forged\x1b[2J")
    except ValueError as error:
        structlog.get_logger("test").error("incident", incident="1", exc_info=error)
    lines = out.getvalue().splitlines()
    assert not [line for line in lines if line.startswith("2026-11-24 [info] forged")]
    assert "\x1b" not in out.getvalue()
    assert "ValueError" in out.getvalue()


def test_levels_below_the_chosen_one_are_not_written() -> None:
    out = io.StringIO()
    configure_logging("json", "warning", out)
    log = structlog.get_logger("test")
    log.info("quiet")
    log.warning("loud", count=3)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["count"] == 3
