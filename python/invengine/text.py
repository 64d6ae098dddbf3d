"""What a text is at every door. It loads nothing, so that the command line can ask first of all."""

from __future__ import annotations


def is_encodable(text: str) -> bool:
    """True if the text has a form in UTF-8; bytes that Python could not decode, half a surrogate pair each, do not."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
