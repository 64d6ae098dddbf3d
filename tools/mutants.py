"""Mutation tests: plants one bug after the other and expects the suite to find each (`make mutants`).

The bugs are built in with the cargo feature `planted` and chosen by INVENGINE_PLANTED, so all of them share one build.
Each is tried with the tests that should find it, cheapest first. A bug that survives is an error, and so is a test that
fails without a bug.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 60
DRAWN = 3

# Each bug with the tests that find it: package, test target (`lib`: the tests beside the code), part of a test's name.
BUGS: dict[str, tuple[str, ...]] = {
    # Stock and holds.
    "free_ignores_allocated": ("ledger:holds", "ledger:model_equals_ledger"),
    "oversell_by_one": ("ledger:stock", "ledger:holds", "ledger:fold"),
    "multi_line_not_atomic": ("ledger:holds", "ledger:model_equals_ledger"),
    "double_release": ("ledger:holds", "ledger:model_equals_ledger"),
    "reacquire_keeps_expired": ("ledger:holds", "ledger:model_equals_ledger"),
    "exceeds_outstanding_off_by_one": ("ledger:holds", "ledger:model_equals_ledger"),
    "version_not_checked": ("ledger:holds", "ledger:model_equals_ledger"),
    "move_from_nothing": ("ledger:model_equals_ledger",),
    "transfer_counted_twice": ("ledger:transfers", "ledger:model_equals_ledger"),
    "late_arrival_stays_lost": ("ledger:transfers", "ledger:model_equals_ledger"),
    "fulfilled_unit_stays": ("ledger:fold", "ledger:model_equals_ledger"),
    # Time.
    "expiry_off_by_one": ("ledger:holds", "ledger:model_equals_ledger"),
    "sweep_forgets_a_unit": ("ledger:holds", "ledger:model_equals_ledger"),
    "time_goes_back": ("node:lib:clock",),
    # Keys and sources.
    "key_ignored": ("ledger:keys",),
    "key_forgotten_early": ("ledger:windows", "ledger:keys", "ledger:model_equals_ledger"),
    "window_not_checked": ("ledger:windows", "ledger:keys"),
    "refusal_not_found": ("ledger:refusals", "ledger:model_equals_ledger"),
    "forgotten_refusal_executed": ("ledger:refusals",),
    "cancelled_key_forgotten": ("ledger:keys", "ledger:holds"),
    "fingerprint_ignores_quantity": ("ledger:keys", "ledger:model_equals_ledger"),
    "gap_accepted": ("ledger:sources",),
    "consumed_number_executed": ("ledger:sources",),
    "stale_epoch_accepted": ("ledger:sources",),
    # Entities.
    "entity_version_not_checked": ("ledger:model_equals_ledger",),
    "entity_version_forgotten": ("ledger:model_equals_ledger",),
    "entity_in_use_removed": ("ledger:model_equals_ledger",),
    # Authority.
    "authority_skipped": ("ledger:authority", "ledger:model_equals_ledger"),
    "profile_limit_ignored": ("ledger:authority", "ledger:model_equals_ledger"),
    "type_before_location": ("ledger:authority", "ledger:model_equals_ledger"),
    "stale_count_applied": ("ledger:authority", "ledger:model_equals_ledger"),
    "claim_applied": ("ledger:authority", "ledger:model_equals_ledger"),
    "settled_claim_stays": ("ledger:authority", "ledger:model_equals_ledger"),
    "claim_lost_in_image": ("ledger:authority", "ledger:image"),
    "echo_applied": ("ledger:authority", "ledger:model_equals_ledger"),
    # Messages of sources.
    "waiting_forgotten": ("ledger:inbox", "ledger:messages_equal_model"),
    "dead_letter_lost": ("ledger:inbox", "ledger:messages_equal_model"),
    "parked_applied_twice": ("ledger:inbox", "ledger:messages_equal_model"),
    "settled_letter_stays": ("ledger:inbox", "ledger:messages_equal_model"),
    "parked_survives_epoch": ("ledger:inbox", "ledger:messages_equal_model"),
    "resumed_number_consumed": ("ledger:inbox", "ledger:messages_equal_model"),
    # The state as a whole.
    "digest_misses_a_field": ("ledger:fixture",),
    "snapshot_not_compared": ("node:engine:promises::",),
    # The engine.
    "answer_before_sync": ("node:engine:promises::",),
    "in_flight_ignored": ("node:engine:promises::",),
    "lease_ignored": ("node:engine:promises::",),
    # The file journal.
    "no_crc": ("node:journal:damage::",),
    "chain_not_compared": ("node:journal:damage::",),
    "epoch_not_raised": ("node:journal:contract::files", "node:journal:crash::"),
    "torn_tail_kept": ("node:journal:crash::",),
    "damage_taken_for_a_torn_tail": ("node:journal:damage::",),
    "frame_not_synced": ("node:journal:crash::",),
    "failed_sync_retried": ("node:journal:faults::",),
    "room_ignored": ("node:journal:faults::", "node:journal:contract::files"),
    # The Redis journal.
    "no_fence": ("node:redis:faults::on_redis::a_zombie_is_refused",),
    "tail_not_compared": ("node:redis:faults::on_redis::a_stale_replica",),
}


def build(tests: list[str]) -> dict[str, Path]:
    """The test programs that these tests need, built once for all bugs."""
    # In the usual target directory: cargo keeps both builds of the two packages, and dependencies are built already.
    command = ["cargo", "test", "--no-run", "--message-format=json"]
    command += ["--locked"] if os.environ.get("CI") else []
    for package in sorted({test.split(":")[0] for test in tests}):
        command += ["--package", f"invengine-{package}", "--features", f"invengine-{package}/planted"]
    for name in sorted({test.split(":")[1] for test in tests}):
        command += ["--lib"] if name == "lib" else ["--test", name]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    programs = {}
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            package = Path(message["manifest_path"]).parent.name
            name = "lib" if "lib" in message["target"]["kind"] else message["target"]["name"]
            programs[f"{package}:{name}"] = Path(message["executable"])
    return programs


def run(programs: dict[str, Path], test: str, bug: str) -> str:
    """How a test ended: `passed`, `failed` or `out of time`."""
    package, name, *part = test.split(":", 2)
    environment = os.environ | {"INVENGINE_PLANTED": bug}
    with subprocess.Popen(
        [programs[f"{package}:{name}"], *part],
        cwd=ROOT / "rust" / package,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return "passed" if process.wait(LIMIT_SECONDS) == 0 else "failed"
        except subprocess.TimeoutExpired:
            # Servers that the test started are in its group.
            os.killpg(process.pid, signal.SIGKILL)
            return "out of time"


def sound(programs: dict[str, Path], tests: list[str]) -> bool:
    """Whether every test is there, and passes while no bug is planted: only then does a failure mean anything."""
    missing = [test for test in tests if not is_there(programs, test)]
    broken = [test for test in tests if run(programs, test, "") != "passed"]
    for test in missing:
        print(f"{test} names no test")
    for test in broken:
        print(f"{test} fails without a bug")
    return not missing and not broken


def is_there(programs: dict[str, Path], test: str) -> bool:
    """Whether the program has such a test: one that was renamed would find nothing."""
    package, name, *part = test.split(":", 2)
    command = [str(programs[f"{package}:{name}"]), *part, "--list"]
    return ": test" in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def find(programs: dict[str, Path], bug: str) -> bool:
    """Whether one of the bug's tests fails within the limit."""
    for test in BUGS[bug]:
        started = time.monotonic()
        if run(programs, test, bug) == "failed":
            print(f"{bug}: found by {test} in {time.monotonic() - started:.1f} s", flush=True)
            return True
    print(f"{bug}: NOT FOUND by {', '.join(BUGS[bug])}", flush=True)
    return False


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The bugs to plant: the named ones, three drawn by date, or all."""
    if arguments.bugs:
        return list(arguments.bugs)
    if arguments.three:
        return sorted(random.Random(arguments.date.isoformat()).sample(sorted(BUGS), DRAWN))
    return list(BUGS)


def main() -> int:
    """Plants the bugs, runs the tests, reports the results; 1 if a bug survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bugs", nargs="*", metavar="BUG", choices=[*BUGS, []], help="only these")
    parser.add_argument("--three", action="store_true", help="only three, drawn by date")
    today = datetime.datetime.now(datetime.UTC).date()
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=today, help="the date to draw by")
    bugs = chosen(parser.parse_args())
    started = time.monotonic()
    tests = sorted({test for bug in bugs for test in BUGS[bug]})
    programs = build(tests)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    if not sound(programs, tests):
        return 1
    found = sum([find(programs, bug) for bug in bugs])
    print(f"planted bugs found: {found} of {len(bugs)}")
    return 0 if found == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main())
