"""The graph in Prefect's page and in README: a picture and tables, of hostile names too."""

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import pages

from flows.graph import head, picture
from flows.graph.export import Options, write
from flows.graph.merged import MergedGraph


def test_the_head_names_the_most_connected_and_the_commonest_with_an_example(graph: MergedGraph) -> None:
    said = head.markdown(graph)
    assert "| Port Aldery | harbour town | 9 | 9 |" in said
    assert re.search(r"\| built by \| \d+ \| .*designed.* \|", said)


def test_the_picture_is_an_image_that_parses(hostile: MergedGraph) -> None:
    [data] = re.findall(r"!\[[^\]]*\]\(data:image/svg\+xml;base64,([^)]+)\)", head.markdown(hostile))
    svg = ElementTree.fromstring(base64.b64decode(data))  # noqa: S314 - our own
    kinds = {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert kinds == {"svg", "rect", "line", "title", "circle", "g", "text"}


def test_hostile_names_are_no_markup(hostile: MergedGraph) -> None:
    said = head.markdown(hostile)
    assert "<script" not in said
    assert "<img" not in said
    assert all(line.startswith("|") and line.endswith("|") for line in said.splitlines()[2:] if line)


def test_readmes_picture_is_what_the_command_makes(graph: MergedGraph, tmp_path: Path) -> None:
    made = write(graph, tmp_path / "graph.svg", Options()).files[0]
    assert made.read_bytes() == (pages.ROOT / "docs" / "graph.svg").read_bytes()
    assert picture.svg(graph).count("<circle") > 39
