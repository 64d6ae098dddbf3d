"""The engine in this process: Rust behind a few classes. Payloads and answers are serialized messages of invengine.v1.

Calls that wait release the interpreter's lock. Nothing here may be used after a fork. Every timeout is a whole number
of milliseconds, at most 365 days; a longer or a negative one is a ValueError, anything else a TypeError.
"""

from collections.abc import Callable
from typing import Any, final

__all__ = [
    "CallError",
    "Door",
    "Engine",
    "EngineClosed",
    "EngineFault",
    "OutcomeReader",
    "bench_ledger",
    "create_backup",
    "decode_accepted",
    "decode_outcomes",
    "encode_context",
    "encode_reserve",
    "encode_reserves",
    "examine",
    "load_bare",
    "load_probe_sync",
    "load_run",
    "restore_backup",
    "verify",
    "verify_journal",
    "version",
]

class CallError(Exception):
    """A refusal. Its arguments are the gRPC code and a serialized google.rpc.Status with exactly one ErrorInfo."""

class EngineClosed(Exception):
    """The engine was closed, or this process is a fork of the one that opened it."""

class EngineFault(Exception):
    """The journal cannot be opened or written; the message says what to do."""

@final
class Engine:
    """A ledger with its journal. One process at a time owns a journal directory."""

    @staticmethod
    def open(settings: str) -> Engine:
        """Opens an engine and recovers its journal.

        `settings` is a JSON object: journal ("file", "redis" or "memory"), directory, redis_url, redis_username,
        redis_password, redis_ca_file, redis_ack, ledger ("main"), time_scale (1.0), auto_create (false),
        journal_file_bytes, in_flight_max, wall_time_ms (the clock, unless given). Raises
        EngineFault if the directory belongs to another process or the journal is damaged.
        """

    @staticmethod
    def begin(settings: str) -> Engine:
        """The same without waiting: until the journal is recovered every call is refused RECOVERING.

        Raises EngineFault for a bad setting; other errors are raised by `wait_open`.
        """

    def wait_open(self, timeout_ms: int) -> bool:
        """Whether the engine has recovered, after waiting for at most `timeout_ms`.

        Raises EngineFault if it cannot be opened.
        """

    def call(
        self,
        method: str,
        payload: bytes,
        *,
        idempotency_key: str = "",
        ledger: str = "",
        timeout_ms: int = 0,
    ) -> bytes:
        """The answer to one unary method, such as "/invengine.v1.ReservationService/Reserve".

        Waits until everything that the answer depends on is durable. `timeout_ms` 0 means no deadline. Raises
        CallError.
        """

    def start_call(
        self,
        method: str,
        payload: bytes,
        on_done: Callable[[int, bytes], None],
        *,
        idempotency_key: str = "",
        ledger: str = "",
        timeout_ms: int = 0,
    ) -> None:
        """The same without waiting: `on_done(code, answer)` is called once, from a thread of the engine.

        `code` is 0 with the answer, else a gRPC code with a serialized google.rpc.Status.
        """

    def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
        """What a ReadEventsRequest asks for: first sequence, most events (None: no limit), whether to follow.

        Raises CallError: a position that is no event of this history is POSITION_NOT_IN_HISTORY. Reads the journal.
        """

    def read_events(self, from_sequence: int, limit: int, wait_ms: int, only: bytes = b"") -> bytes:
        """A ReadEventsResponse with durable events from a sequence on, after waiting up to `wait_ms` for the next one.

        `only` is an EventFilter; `read_through` says how far it read, whether or not anything matched.
        A sequence beyond the next event is refused (POSITION_NOT_IN_HISTORY): there is nothing to wait for.
        """

    def stats(self) -> str:
        """Counters and gauges of the engine, as a JSON object."""

    def drain(self) -> None:
        """Refuses new commands (DRAINING) and returns when the accepted ones are answered."""

    def close(self) -> None:
        """Drains, syncs and releases the journal. Any use afterwards raises EngineClosed; a second close does not."""

@final
class Door:
    """The native gRPC listener of an engine."""

    @staticmethod
    def serve(engine: Engine, address: str, settings: str) -> Door:
        """Listens on host:port; port 0 takes a free one.

        `settings` is a JSON object: threads (1), forward_socket (the Python service that answers every other method),
        connections_max (4,096), connection_idle_ms (300,000), calls_max (65,536), streams_max (1,024 a connection),
        headers_bytes_max (64 KiB), readers_max (32), partial_bytes_max (256 MiB), message_ms_max (30,000),
        answer_bytes_max (256 MiB), connection_answer_bytes_max (16 MiB), stall_ms_max (30,000), forwards_max (1,024),
        service_streams_max (256), reflection_ms_max (60,000). Raises ValueError for a bad setting, OSError if it cannot
        listen.
        """

    @property
    def address(self) -> str:
        """Where it really listens, as host:port."""

    def stats(self) -> str:
        """The current connections, calls, answer_bytes and partial_bytes, and `bounds`: how often each acted.

        A JSON object; docs/operations.md says what each bound is.
        """

    def drain(self, timeout_ms: int) -> None:
        """Answers what was accepted and refuses the rest; returns after `timeout_ms` at the latest."""

    def close(self) -> None:
        """Closes the listener and every connection."""

def verify(directory: str, at_sequence: int | None) -> str:
    """Folds the journal in `directory` again, up to a sequence or its end, and reports what it found as a JSON object.

    The report has sequence, digest, the invariants, oversold_units_by_reserve, counts, every snapshot with what is
    wrong with it, and `damage`: null, or where the journal stops being intact and what follows. Raises EngineFault
    if it cannot be read.
    """

def verify_journal(settings: str, at_sequence: int | None) -> str:
    """The same for the journal that an engine with these settings has, in files or in Redis.

    `settings` is as for `Engine.open`. In Redis a damage has the id of its `entry`.
    """

def create_backup(settings: str, backup: str, archive: bool) -> str:
    """Copies what is durable in the journal of these settings into `backup`, a new or empty directory, and reports it
    as a JSON object.

    `settings` is as for `Engine.open`. A server may run. `archive` takes all older journal too. The report has ledger,
    sequence, writer_epoch, time_ms, digest, snapshot_sequence, created_ms, files, bytes and notes. Raises EngineFault.
    """

def restore_backup(backup: str, settings: str, writer_epoch_min: int) -> str:
    """Restores a backup where an engine with these settings will find it, and reports it as a JSON object.

    The directory must be new or empty, the ledger without a journal in Redis. Its next server continues above
    `writer_epoch_min`, or with 0 above every epoch that there can have been. The report has the backup's facts,
    restored_epoch and sources: source, epoch, last_sequence, expected_sequence. Raises EngineFault.
    """

def examine(settings: str) -> str:
    """Checks the environment that an engine with these settings (as for `Engine.open`) would have, without opening it.

    The answer is a JSON object; its fields are those of `Examination` in rust/node. Of a file journal's directory it
    writes and removes one scratch file; in Redis it writes nothing. Raises EngineFault for a bad setting.
    """

@final
class OutcomeReader:
    """Reads what accepted commands did to holds into the values of `invengine.client.results`.

    It reads an Outcome or the answer of a single command: both begin with the receipt and the holds.
    """

    def __new__(cls, receipt: type, hold_line: type, hold: type, changes: type, states: list[Any]) -> OutcomeReader:
        """The classes of the values, and the states of a line by number.

        A state that is not known becomes the first. Raises ValueError if there is none.
        """

    @staticmethod
    def split(answer: bytes) -> tuple[list[Any], list[int]] | None:
        """The bytes of each Outcome of a serialized SubmitResponse or SubmitStreamResponse, in order, and the places of
        those that `read` does not read.

        None if the message is malformed, or written as no encoder writes it: protobuf can tell.
        """

    def read(self, outcome: bytes) -> tuple[Any, tuple[Any, ...]] | None:
        """The receipt and the holds. None unless the command was accepted and changed nothing but holds."""

    def hold(self, outcome: bytes) -> Any:
        """The only hold. None unless the command was accepted and changed this hold and nothing else."""

    def changes(self, outcome: bytes) -> Any:
        """The Changes. None unless the command was accepted and changed nothing but holds."""

def encode_reserve(
    lines: tuple[tuple[str, str, int], ...],
    ttl: tuple[int, int] | None,
    flags: tuple[bool, bool],
    fields: dict[str, str],
    key: str,
    remember_refusal: bool,
    now_ns: int,
    channel: str,
    actor: str,
) -> bytes:
    """A serialized ReserveRequest: the very bytes that protobuf would write.

    `ttl` is (seconds, nanoseconds); `flags` are allow_partial and replace_own. `fields` has the texts of its context by
    name; `channel` and `actor` stand in for those that it does not have.
    """

def encode_context(fields: dict[str, str], remember_refusal: bool, now_ns: int, channel: str, actor: str) -> bytes:
    """A serialized CommandContext without a key: the very bytes that protobuf would write."""

def encode_reserves(
    skus: list[str],
    locations: list[str] | str,
    quantities: list[int] | int,
    keys: list[str] | str,
    start: int,
    end: int,
    shared_context: bytes,
    ttl_ms: int,
) -> bytes:
    """A serialized SubmitRequest with one Reserve of one line for each row from `start` to `end`.

    A location or a quantity that is no list is that of every row; keys that are no list are `{keys}-{row}`.
    `shared_context` is a serialized CommandContext without a key; `ttl_ms` 0 leaves the time to live to the server.
    Raises ValueError if a column ends before `end`.
    """

def decode_accepted(answer: bytes) -> list[bool] | None:
    """The column accepted of a serialized SubmitResponse.

    None if the message is malformed, or written as no encoder writes it: protobuf can tell.
    """

def decode_outcomes(answer: bytes) -> tuple[list[str], list[str], list[int]]:
    """The columns reservation_id, reason and sequence of a SubmitResponse of which `decode_accepted` reads the first.

    A refused row has an empty id and sequence 0, an accepted one an empty reason. Raises ValueError for any other.
    """

def bench_ledger(operations: int, levels: int, run: str) -> str:
    """Runs the ledger alone, without journal or door, on the calling thread, and reports how fast it was.

    Half of the `operations` are Reserves of one unit, half the Allocates of those holds, over `levels` levels in
    random order, with keys and expiry on. `run` is growing; steady: holds are fulfilled after their frame, and keys
    were forgotten twice before the first command counts; reserves: nothing is allocated, so that a level has units
    due at many times; or texts: nothing is executed, only the commands' texts are made. The answer is a JSON object:
    operations, seconds (of the commands alone, not of making the levels), page_faults during these, and checks:
    "passed", or what was found wrong afterwards. Checked is that every command was accepted, that every level adds
    up, and that each holds as many units as were reserved there. Raises ValueError if `operations` or `levels` is
    below 1, or for another `run`.
    """

def load_run(spec: str) -> str:
    """Runs the load generator on the calling thread and returns its report; spec and report are JSON objects.

    Fields and defaults are those of `Spec` and `Report` in rust/load. With `core` the thread stays pinned to it: use a
    process of its own. Raises ValueError for a spec that cannot be run, OSError if the connection fails.
    """

def load_bare(core: int) -> None:
    """Serves the bare listener, gRPC without an engine, on a free port of the loopback, pinned to a core.

    Prints its address, host:port, as one line on stdout once it listens, and returns when stdin ends. Use a process of
    its own. Raises OSError if it cannot listen.
    """

def load_probe_sync(spec: str) -> str:
    """Measures how long a small durable write takes on a disk and returns the report; spec and report are JSON objects.

    Fields are those of `SyncSpec` and `SyncReport` in rust/load; the file that it names is overwritten and left behind.
    Raises ValueError for a malformed spec, OSError if the file cannot be written.
    """

def version() -> str:
    """Version of the extension."""
