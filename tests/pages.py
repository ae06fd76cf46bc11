"""README and the pages under docs/, as tests read them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_GENERATED = re.compile(r"<!-- generated: .+? -->\n.*?<!-- end of generated -->", re.DOTALL)
_BLOCK = re.compile(r"(?:^<!-- (?P<marker>.+?) -->\n)?^```(?P<language>\w*)\n(?P<content>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code on a page; ``marker`` is the comment above it, such as ``file: ontology.ttl``."""

    language: str
    content: str
    marker: str = ""

    @property
    def file(self) -> str:
        """The name that the reader is to keep it under; empty if it isn't a file's."""
        return self.marker.removeprefix("file: ") if self.marker.startswith("file: ") else ""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def written(page: Path) -> str:
    """A page without the parts that are generated."""
    return _GENERATED.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    return [Block(each["language"], each["content"], each["marker"] or "") for each in _BLOCK.finditer(written(page))]


def example(wanted: str) -> str:
    """The code under the marker of this name, on whichever page it is."""
    [found] = [block.content for page in PAGES for block in blocks(page) if block.marker == f"example: {wanted}"]
    return found


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a terminal's text, with the pieces that it is said to print."""
    command, pieces = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, pieces
            command, pieces = line[2:], []
        elif line.strip():
            pieces.append(line)
    if command:
        yield command, pieces
