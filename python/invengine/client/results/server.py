"""What a server says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """The server, its guarantees and its limits."""

    version: str
    ledger: str
    writer_epoch: int
    journal: str
    loss_window: str
    sequence: int
    durable_sequence: int
    engine_time: datetime
    time_scale: float
    effective_dedupe_window_s: float
    command_bytes_max: int
    submit_bytes_max: int
    submit_commands_max: int
    lines_max: int
    recovery_time_s: float
    recovered_events: int
    door: str
    snapshot_sequence: int
    snapshot_time: datetime | None
    first_sequence: int
    lost_events: int
    clock_offset_s: float
    answer_bytes_max: int
    command_answer_bytes_max: int
    reservation_lines_max: int
    effective_refusal_window_s: float = 0.0
    refusal_bytes: int = 0
    refusal_bytes_max: int = 0
