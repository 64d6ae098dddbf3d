"""Finds the line of a command that a rejection is about: the server names item and location, not the line."""

from __future__ import annotations

from typing import Any

from invengine.errors import InvengineError


def locate(error: InvengineError, request: Any) -> None:
    """Adds the line to the metadata of a rejection of this request; see `Draft.locate`."""
    lines: Any = getattr(request, "lines", None) or getattr(getattr(request, "target", None), "lines", ())
    sku, location = error.metadata.get("sku"), error.metadata.get("location")
    # Of a transfer the rejection names the new location, and the line the old one.
    moves = location is not None and location == getattr(request, "to_location", "")
    at = [n for n, line in enumerate(lines, 1) if _is_about(line, sku, None if moves else location)]
    if moves and len(at) > 1:
        return
    if at and len(lines) > 1:
        error.metadata |= {"line": str(at[0]), "lines": str(len(lines))}
    # The lines of an adjust have a delta, and its rejection states what was requested.
    units = getattr(lines[at[0] - 1], "quantity", 0) if at and "requested" in error.shown_metadata else 0
    if units and len(at) == 1:
        error.metadata.setdefault("requested", str(units))


def _is_about(line: Any, sku: str | None, location: str | None) -> bool:
    """True if a line has the item and the location that a rejection names; it must name at least one of them.

    Lines of a stock transfer have no location.
    """
    facts = (("sku", sku), ("location", location))
    named = [(name, given) for name, given in facts if given is not None and hasattr(line, name)]
    return bool(named) and all(getattr(line, name) == given for name, given in named)
