"""Deselects tests whose program is not installed, and reports them by name as not run.

Such a test carries `@pytest.mark.needs_tool("redis-server")`, or `@pytest.mark.needs_root` if it mounts a disk. It is
deselected rather than skipped, so that a green run shows how much of the suite it covers; `make test` prints the names
at its end, and with CI=true fails because of them. With pytest-xdist (`-n`) each worker collects all tests and finds
the same ones; the workers report them to the main process.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

NOT_RUN_VARIABLE = "INVENGINE_NOT_RUN"

_WORKER_NOTES = "invengine_not_run"

_not_run = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests whose tools are all absent."""
    notes: list[str] = []
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        missing = _missing(item)
        if missing:
            notes.append(f"{item.nodeid}: needs {missing}")
            left_out.append(item)
        else:
            kept.append(item)
    config.stash[_not_run] = notes
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def _missing(item: pytest.Item) -> str:
    """Describes what a test needs and does not have."""
    for mark in item.iter_markers("needs_tool"):
        if not any(shutil.which(tool) for tool in mark.args):
            return f"{' or '.join(mark.args)}, not found on PATH"
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        return "root"
    return ""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Collects what a worker of pytest-xdist did not run; all workers report the same."""
    notes = getattr(node, "workeroutput", {}).get(_WORKER_NOTES, [])
    if notes and not node.config.stash.get(_not_run, []):
        node.config.stash[_not_run] = notes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints what was not run, and writes it to a file for `make test`."""
    notes = config.stash.get(_not_run, [])
    if not notes:
        return
    terminalreporter.section("not run")
    for note in notes:
        terminalreporter.write_line(note)
    path = os.environ.get(NOT_RUN_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{note}\n" for note in notes)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With CI=true a run that deselected tests fails."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_NOTES] = session.config.stash.get(_not_run, [])
        return
    if session.config.stash.get(_not_run, []) and exitstatus == pytest.ExitCode.OK and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
