"""Proves the wheel: installs it into an empty environment and runs the conformance suite there, away from the sources.

What a user gets must work without the source tree. First the wheel alone, as for a client: it imports, and its command
says what is missing. Then what that hint tells people to type, which is the `server` extra, and pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from subprocess import DEVNULL

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = ["pytest>=9", "pytest-timeout>=2.4", "pytest-xdist>=3.8"]
CONFIG = "[pytest]\ntimeout = 120\naddopts = --strict-markers -ra\nmarkers =\n"
# An import from here would prove the tree, not the wheel.
ORIGIN = "import invengine, sys; raise SystemExit(not invengine.__file__.startswith(sys.prefix))"


def markers() -> str:
    """The markers of the whole project, as lines of the suite's own settings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return "".join(f"    {marker}\n" for marker in settings["tool"]["pytest"]["ini_options"]["markers"])


def missing_extra(bin_directory: Path, environment: dict[str, str]) -> str:
    """The extra that the command of a client-only installation asks to install; the clients work without it."""
    client = "from invengine import AsyncClient, Client; Client('127.0.0.1:7411').close()"
    subprocess.run([str(bin_directory / "python"), "-c", client], check=True, env=environment)
    command = [str(bin_directory / "invengine"), "status"]
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    hint = re.search(r"`pip install '([^']+)'`", ended.stderr)
    if ended.returncode != 2 or hint is None:
        raise SystemExit(
            f"a client-only installation does not name its missing extra: {ended.returncode} {ended.stderr!r}"
        )
    return hint[1]


def main(wheel_directory: str, workers: str = "0") -> int:
    """Runs the suite against the newest wheel in a directory, in so many processes; the suite's own exit code."""
    wheels = sorted((ROOT / wheel_directory).glob("invengine-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        print(f"no wheel in {wheel_directory}: run `make wheel`", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="invengine-wheel-") as scratch:
        room = Path(scratch)
        venv.create(room / "venv", with_pip=True)
        python = str(room / "venv" / "bin" / "python")
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, str(wheels[-1])], check=True, env=environment)
        subprocess.run(
            [*install, missing_extra(room / "venv" / "bin", environment), *RUNNERS], check=True, env=environment
        )
        subprocess.run(
            [str(room / "venv" / "bin" / "invengine"), "--help"], check=True, env=environment, stdout=DEVNULL
        )
        suite = room / "tests" / "conformance"
        shutil.copytree(ROOT / "tests" / "conformance", suite, ignore=shutil.ignore_patterns("__pycache__"))
        # The suite compares the answers with the bounds that the contract states.
        shutil.copytree(ROOT / "protos", room / "protos")
        (suite / "pytest.ini").write_text(CONFIG + markers(), encoding="utf-8")
        subprocess.run([python, "-c", ORIGIN], check=True, cwd=suite, env=environment)
        print(f"{wheels[-1].name} in an empty environment:", flush=True)
        command = [python, "-m", "pytest", "-q", "-n", workers, "--dist", "worksteal", "."]
        return subprocess.run(command, check=False, cwd=suite, env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
