"""The checks of `invengine doctor`: what each reports, when it is an error or a warning, and the remedy.

A fact is a plain value of `_core.examine` or of `machine`, by its name. For what a server would refuse, the core gives
the reason with a remedy, in facts whose names end in `refused`; everything else is decided here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Facts = Mapping[str, Any]

MIB = 1 << 20
GIB = 1 << 30

SYNC_MEDIAN_US_MAX = 5_000
SYNC_WORST_US_MAX = 50_000
# A server starts with one journal file, and prepares the next one.
FREE_FILES_MIN = 2
FREE_FILES_GOOD = 16
# What the engine requires to be free before it decides anything: twice its longest frame, and some for others.
REDIS_ROOM_BYTES = 9 * MIB
REDIS_ROOM_SHARE = 0.1
FILES_BESIDE_CONNECTIONS = 256
MEMORY_BESIDE_KEYS_BYTES = GIB
CLOCK_AHEAD_MS_MAX = 1_000


class Level(enum.StrEnum):
    """The severity: an error keeps a server from starting or from keeping its guarantees."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A level, its condition, and the remedy. `{names}` in the remedy are facts."""

    level: Level
    when: Callable[[Facts], bool]
    remedy: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its description, and its rules, of which the first that applies counts."""

    name: str
    found: Callable[[Facts], str]
    rules: tuple[Rule, ...] = ()
    refused: str = ""
    """The fact with the reason of the core to refuse it."""
    needs: str = ""
    """The fact that the check needs; without it the check is omitted."""


def _size(value: int) -> str:
    unit, name = (GIB, "GiB") if value >= GIB else (MIB, "MiB")
    return f"{value / unit:.1f} {name}"


def _ms(micros: int) -> str:
    return f"{micros / 1000:.1f} ms"


def _directory(facts: Facts) -> str:
    if facts["unwritable"]:
        return f"{facts['directory']} cannot be written: {facts['unwritable']}"
    return facts["directory"] if facts["exists"] else f"{facts['directory']} does not exist yet; a server creates it"


def _free_space(facts: Facts) -> str:
    return f"{_size(facts['free_bytes'])}; a journal file takes {_size(facts['journal_file_bytes'])}"


def _syncs(facts: Facts) -> str:
    syncs = facts["syncs"]
    if syncs is None:
        return "not measured: nothing could be written there"
    return f"median {_ms(syncs['median_us'])}, worst {_ms(syncs['worst_us'])} of {syncs['count']}"


def _files(facts: Facts) -> str:
    journal = facts["journal"]
    if journal is None:
        return f"none yet; a server starts that of ledger {facts['ledger']}"
    files, snapshots = _count(journal["files"], "file"), _count(journal["snapshots"], "snapshot")
    last = f"the last one from sequence {journal['last_file_sequence']}"
    return f"of ledger {facts['ledger']}: {files}, {last}; {snapshots}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _on(*kinds: str) -> Callable[[Facts], bool]:
    return lambda facts: facts["file_system"] in kinds


def _free_files(count: int) -> Callable[[Facts], bool]:
    return lambda facts: facts["free_bytes"] < count * facts["journal_file_bytes"]


LOSS_WINDOW = Check("loss window", lambda facts: facts["loss_window"], needs="loss_window")

FILE = (
    Check(
        "directory",
        _directory,
        (
            Rule(
                Level.ERROR,
                lambda facts: facts["unwritable"] is not None,
                "Let this user write there, or name another --directory.",
            ),
        ),
    ),
    Check(
        "file system",
        lambda facts: facts["file_system"],
        (
            Rule(
                Level.WARNING,
                _on("tmpfs", "ramfs"),
                "Name a --directory on a disk: this is memory, and lost when the machine stops.",
            ),
            Rule(
                Level.WARNING, _on("overlay"), "Mount a volume for the --directory: this one ends with its container."
            ),
            Rule(
                Level.WARNING,
                _on("nfs", "cifs", "smb2", "fuse", "9p"),
                "Name a --directory on a disk of this machine: here lock and sync are only as good as another program.",
            ),
        ),
        needs="file_system",
    ),
    Check(
        "free space",
        _free_space,
        (
            Rule(Level.ERROR, _free_files(FREE_FILES_MIN), "Free some space: the next journal file has no room."),
            Rule(
                Level.WARNING,
                _free_files(FREE_FILES_GOOD),
                "Free some space, or keep less in the archive (archive_ms, archive_bytes_max).",
            ),
        ),
        needs="free_bytes",
    ),
    Check(
        "sync time",
        _syncs,
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["syncs"] is None,
                "Create the directory and let this user write there, then run this again.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: facts["syncs"]["median_us"] > SYNC_MEDIAN_US_MAX,
                "Use a faster disk, or one whose cache survives a power loss: every answer waits for a sync.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: facts["syncs"]["worst_us"] > SYNC_WORST_US_MAX,
                "Find what else keeps this disk busy: answers wait for its slowest sync.",
            ),
        ),
    ),
    Check(
        "lock",
        lambda facts: f"held by {facts['owner']}" if facts["owner"] else "free",
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["owner"] is not None,
                "Stop that server before another one starts here, or name another --directory: two are refused.",
            ),
        ),
    ),
    Check("journal", _files, refused="refused"),
    LOSS_WINDOW,
)


def _rights(facts: Facts) -> str:
    if facts["rights_missing"]:
        return f"its user may not run {', '.join(facts['rights_missing'])}"
    if facts["rights_dangerous"]:
        return f"its user may also run {', '.join(facts['rights_dangerous'])}"
    return "its user may do what a journal needs, and cannot end one"


def _acknowledgement(facts: Facts) -> str:
    if not facts["aof"]:
        return f"{facts['ack']}, with appendonly no"
    return f"{facts['ack']}, with appendonly yes, appendfsync {facts['appendfsync'] or 'unknown'}"


def _memory_left(facts: Facts) -> int:
    return int(facts["memory_bytes_max"] - facts["memory_bytes_used"])


def _memory(facts: Facts) -> str:
    used, most = _size(facts["memory_bytes_used"]), facts["memory_bytes_max"]
    return f"{used} used, no limit" if most == 0 else f"{used} of {_size(most)} used"


def _replicas(facts: Facts) -> str:
    wanted = facts["replicas_min"]
    waits = "WAITAOF" if facts["waitaof"] else "no WAITAOF"
    return f"{facts['replicas']} connected, min-replicas-to-write {'unknown' if wanted is None else wanted}, {waits}"


def _functions(facts: Facts) -> str:
    if facts["functions_there"]:
        return f"version {facts['functions_version']}"
    return f"not loaded yet; a server loads version {facts['functions_version']}"


def _keys(facts: Facts) -> str:
    journal = facts["journal"]
    if journal is None:
        return f"free; a server starts the journal of ledger {facts['ledger']}"
    return (
        f"the journal of ledger {facts['ledger']} at sequence {journal['last_sequence']}, writer epoch "
        f"{journal['writer_epoch']}; a server that starts takes it over"
    )


def _note(facts: Facts) -> str:
    if facts["note_unwritable"]:
        return f"{facts['note_directory']} cannot be written: {facts['note_unwritable']}"
    return f"what was acknowledged is kept in {facts['note_directory']}"


REDIS = (
    Check(
        "connection",
        lambda facts: facts["place"],
        (
            Rule(
                Level.WARNING,
                lambda facts: not facts["private"],
                "Use rediss://: the password and every frame are sent unencrypted.",
            ),
        ),
        refused="refused",
    ),
    Check("version", lambda facts: facts["product"], refused="version_refused", needs="product"),
    Check("role", lambda _: "master", refused="role_refused", needs="product"),
    Check(
        "rights",
        _rights,
        (
            Rule(
                Level.ERROR,
                lambda facts: bool(facts["rights_missing"]),
                "Grant them on the keys of the ledger, as in docs/operations.md.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: bool(facts["rights_dangerous"]),
                "Give invengine a user of its own, with the commands of docs/operations.md and no others.",
            ),
        ),
        needs="access_granted",
    ),
    Check(
        "acknowledgement",
        _acknowledgement,
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["ack"] == "memory",
                "Choose another redis_ack than memory for anything that must last.",
            ),
        ),
        refused="ack_refused",
        needs="product",
    ),
    Check(
        "maxmemory",
        _memory,
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["memory_bytes_max"] == 0,
                "Set maxmemory below the memory of the machine: a full Redis then refuses writes, and is not killed.",
            ),
            Rule(
                Level.ERROR,
                lambda facts: _memory_left(facts) < REDIS_ROOM_BYTES,
                "Raise maxmemory or free memory: commands are refused with JOURNAL_FULL.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: _memory_left(facts) < REDIS_ROOM_SHARE * facts["memory_bytes_max"],
                "Raise maxmemory or free memory before it is full.",
            ),
        ),
        needs="memory_bytes_max",
    ),
    Check("maxmemory-policy", lambda facts: facts["eviction"], refused="eviction_refused", needs="product"),
    Check(
        "replicas",
        _replicas,
        (
            Rule(
                Level.ERROR,
                lambda facts: facts["replicas"] < (facts["replicas_min"] or 0),
                "Connect replicas or lower min-replicas-to-write: this server accepts no write.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: facts["ack"] == "replicated" and not facts["waitaof"],
                "Upgrade to Redis 7.2 or Valkey: here a replica confirms with its memory only.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: facts["ack"] in ("fsync", "everysec") and facts["replicas"] > 0,
                "Choose redis_ack replicated if one of them may be promoted: it may lack what was acknowledged.",
            ),
        ),
        needs="product",
    ),
    Check("functions", _functions, refused="functions_refused", needs="functions_there"),
    Check("writes", lambda _: "accepted", refused="write_refused", needs="write_tried"),
    Check("keys", _keys, refused="keys_refused", needs="keys_read"),
    Check(
        "note",
        _note,
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["note_unwritable"] is not None,
                "Let this user write there, or name another --directory: what a failover loses would go unreported.",
            ),
        ),
        needs="note_directory",
    ),
    LOSS_WINDOW,
)

MEMORY = (
    Check(
        "journal",
        lambda _: "kept in memory",
        (Rule(Level.WARNING, lambda _: True, "Choose --journal file or redis for anything that must last."),),
    ),
    LOSS_WINDOW,
)


def _clock(facts: Facts) -> str:
    if _ahead_ms(facts) > CLOCK_AHEAD_MS_MAX:
        return f"{_ahead_ms(facts) / 1000:.0f} s behind the journal's last file"
    synchronised = facts["clock_synchronised"]
    if synchronised is None:
        return "whether it is synchronised cannot be found out"
    return f"synchronised to {facts['clock_error_ms']} ms" if synchronised else "nothing keeps it right"


def _ahead_ms(facts: Facts) -> int:
    return int((facts.get("journal") or {}).get("time_ms", 0) - facts["now_ms"])


MACHINE = (
    Check("ledger", lambda facts: facts["ledger"], refused="ledger_refused", needs="ledger_refused"),
    Check(
        "clock",
        _clock,
        (
            Rule(
                Level.WARNING,
                lambda facts: _ahead_ms(facts) > CLOCK_AHEAD_MS_MAX,
                "Correct the clock before a server starts: engine time never goes back.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: facts["clock_synchronised"] is None,
                "Check on the machine itself whether chrony or another NTP service runs.",
            ),
            Rule(
                Level.WARNING,
                lambda facts: not facts["clock_synchronised"],
                "Run chrony or another NTP service on this machine.",
            ),
        ),
        refused="clock_refused",
    ),
    Check(
        "open files",
        lambda facts: f"{facts['files_max']} at most",
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["files_max"] < facts["connections_max"] + FILES_BESIDE_CONNECTIONS,
                "Raise the limit (ulimit -n, or LimitNOFILE= of the service) to {files_wanted} or more: the door "
                "accepts {connections_max} connections.",
            ),
        ),
        needs="files_max",
    ),
    Check(
        "memory",
        lambda facts: f"{_size(facts['memory_bytes'])} for this process; keys may take {_size(facts['key_bytes_max'])}",
        (
            Rule(
                Level.WARNING,
                lambda facts: facts["memory_bytes"] < facts["key_bytes_max"] + MEMORY_BESIDE_KEYS_BYTES,
                "Give it more memory than its keys may take, and 1 GiB for the rest: above its limit it is killed.",
            ),
        ),
        needs="memory_bytes",
    ),
)


def _address(name: str) -> Check:
    taken = f"{name}_taken"
    return Check(
        name.replace("_", " "),
        lambda facts: f"{facts[name]}: {facts[taken]}" if facts.get(taken) else facts[name] or "none",
        (
            Rule(
                Level.WARNING,
                lambda facts: bool(facts.get(taken)) and facts.get("owner") is not None,
                f"Stop the server that has the directory before another one starts, or choose another --{_flag(name)}.",
            ),
            Rule(
                Level.ERROR,
                lambda facts: bool(facts.get(taken)),
                f"Stop what uses it, or choose another --{_flag(name)}.",
            ),
        ),
        refused=f"{name}_refused",
    )


def _flag(name: str) -> str:
    return name.replace("_", "-")


ADDRESSES = (_address("address"), _address("metrics_address"))

JOURNALS = {"file": FILE, "redis": REDIS, "memory": MEMORY}


def judge(facts: Facts) -> Iterator[Finding]:
    """Yields the findings of these facts, one for each check that applies."""
    server = facts.get("server") or {}
    derived = {
        "files_wanted": facts["connections_max"] + FILES_BESIDE_CONNECTIONS,
        "access_granted": True if facts["kind"] == "redis" and not facts["refused"] else None,
    }
    # Keys that the user may not read are not known to be free, and no write was tried without the functions.
    unread = {"hgetall", "type"} & set(facts.get("rights_missing", ()))
    derived["keys_read"] = None if unread else derived["access_granted"]
    derived["write_tried"] = True if facts.get("functions_there") and not facts["functions_refused"] else None
    known = {**facts, **server, **derived}
    for check in (*JOURNALS[facts["kind"]], *MACHINE, *ADDRESSES):
        finding = _finding(check, known)
        if finding is not None:
            yield finding


def _finding(check: Check, facts: Facts) -> Finding | None:
    if check.refused and facts.get(check.refused):
        return Finding(check.name, Level.ERROR, *_split(facts[check.refused]))
    if check.needs and facts.get(check.needs) is None:
        return None
    for rule in check.rules:
        if rule.when(facts):
            return Finding(check.name, rule.level, check.found(facts), rule.remedy.format_map(facts))
    return Finding(check.name, Level.OK, check.found(facts))


def _split(refusal: str) -> tuple[str, str]:
    """Splits a refusal of the core: it states what is wrong, and after its last semicolon the remedy."""
    found, semicolon, remedy = refusal.rpartition("; ")
    if not semicolon:
        return refusal, "Correct that setting."
    return found, f"{remedy[0].upper()}{remedy[1:].rstrip('.')}."
