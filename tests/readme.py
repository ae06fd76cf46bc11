"""The examples of README, as a reader would copy them."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def example(name: str) -> str:
    """The code under README's marker of this name."""
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found is not None, f"README has no example {name}"
    return found.group(1)
