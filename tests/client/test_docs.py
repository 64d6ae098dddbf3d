"""Does docs/client.md speak of what there is?"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from invengine import errors
from invengine.client import Client

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def test_the_tree_of_the_page_is_the_tree_of_the_code() -> None:
    kinds = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.InvengineError)
    }
    tree = re.search(r"^    InvengineError\n(    .*\n)+", PAGE, re.MULTILINE)
    assert tree is not None
    assert kinds - set(re.findall(r"\w+", tree.group())) == set()


def test_the_examples_compile_and_call_what_exists() -> None:
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 6
    for example in examples:
        compile(example, "docs/client.md", "exec")
        for name in re.findall(r"\bclient\.(\w+)\(", example):
            assert hasattr(Client, name), name
