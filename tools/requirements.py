"""Prints the requirements of pyproject.toml, one per line, so that pip can install them without building the project.

`requirements.py server dev` prints the base dependencies and those of the two extras; an extra may name another one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN_EXTRA = re.compile(r"invengine\[(?P<extras>[a-z, ]+)\]")


def requirements(extras: list[str]) -> list[str]:
    """The base dependencies and those of the extras, sorted, each once. Raises KeyError for an unknown extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = set(project["dependencies"])
    waiting = list(extras)
    while waiting:
        for requirement in project["optional-dependencies"][waiting.pop()]:
            own = OWN_EXTRA.fullmatch(requirement)
            if own:
                waiting += [name.strip() for name in own["extras"].split(",")]
            else:
                found.add(requirement)
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
