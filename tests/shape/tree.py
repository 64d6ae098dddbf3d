"""The files of the project as git sees them, and the Markdown blocks in them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = re.compile(r"^python/invengine/v1/|^docs/api\.md$|^Cargo\.lock$|\.binpb$")
FENCE = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def tracked() -> tuple[str, ...]:
    """Every file that is or would be committed, relative to the root, with `/`. Deleted ones are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(sorted({name for name in found if name and (ROOT / name).is_file()}))


def written(*endings: str) -> list[str]:
    """The tracked files that people write, with one of these endings."""
    return [name for name in tracked() if name.endswith(endings) and not GENERATED.search(name)]


def text_of(name: str) -> str:
    """Text of a tracked file; bytes that are no text are replaced."""
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a Markdown file, and the line that it starts on."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Every fenced block of the README and the documents in one of these languages."""
    found = []
    for name in written(".md"):
        text = text_of(name)
        for match in FENCE.finditer(text):
            if match["language"] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(name, line, match["language"], match["text"]))
    return found
