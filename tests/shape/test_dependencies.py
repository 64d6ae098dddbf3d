"""What comes in from outside keeps to deny.toml: licences, sources, crates that are not wanted."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest

from .tree import ROOT, text_of

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
RULES = tomllib.loads(text_of("deny.toml"))


def _allowed(expression: str) -> bool:
    """True if an SPDX expression can be fulfilled with the allowed licences alone."""
    for choices in re.split(r"\s+AND\s+", re.sub(r"[()]", "", expression.replace("/", " OR "))):
        if not set(re.split(r"\s+OR\s+", choices)) & set(RULES["licenses"]["allow"]):
            return False
    return True


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [("MIT", True), ("MIT/Apache-2.0", True), ("GPL-3.0", False), ("GPL-3.0 OR MIT", True), ("MIT AND GPL-3.0", False)],
)
def test_a_licence_is_judged_by_what_can_be_chosen(expression: str, allowed: bool) -> None:
    assert _allowed(expression) is allowed


@pytest.mark.needs_tool("cargo")
def test_every_crate_has_a_licence_that_is_allowed() -> None:
    command = ["cargo", "metadata", "--format-version=1", "--offline", "--filter-platform=x86_64-unknown-linux-gnu"]
    answer = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    packages: list[dict[str, Any]] = json.loads(answer.stdout)["packages"]
    used = {node["id"] for node in json.loads(answer.stdout)["resolve"]["nodes"]}
    wrong = [
        f"{package['name']} {package['license']}"
        for package in packages
        if package["id"] in used and not _allowed(package["license"] or "none")
    ]
    assert wrong == []


def test_every_crate_comes_from_here_or_from_crates_io() -> None:
    packages = tomllib.loads(text_of("Cargo.lock"))["package"]
    assert {package["source"] for package in packages if "source" in package} <= {CRATES_IO}


def test_no_unwanted_crate_is_used() -> None:
    packages = {package["name"] for package in tomllib.loads(text_of("Cargo.lock"))["package"]}
    assert packages & {rule["name"] for rule in RULES["bans"]["deny"]} == set()
