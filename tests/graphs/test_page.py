"""The page of a graph, in a real browser without a network."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile as odd
import processes
import pytest

from flows.graph import page
from flows.graph.export import Options, write
from flows.graph.merged import MergedGraph

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SECONDS = 60.0


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'knowledge-batch[test]'")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser here: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


def text(browser: "Chrome", id: str) -> str:
    return str(browser.find_element("id", id).text)


def opened(browser: "Chrome", graph: MergedGraph, file: Path, **more: Any) -> None:
    """Writes the page and opens it; it may ask for nothing and complain of nothing."""
    with file.open("w", encoding="utf-8") as out:
        page.write_page(graph, out, **more)
    browser.get(file.as_uri())
    processes.wait_until(lambda: browser.execute_script("return document.body.dataset.ready") == "yes", SECONDS)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def choose(browser: "Chrome", name: str) -> None:
    search = browser.find_element("id", "search")
    search.clear()
    search.send_keys(name + "\n")


def canvas_hash(browser: "Chrome") -> str:
    return str(browser.execute_script("return document.getElementById('canvas').toDataURL()"))


def click_middle(browser: "Chrome") -> None:
    """Clicks on what the page has put into the middle of the free part of its picture."""
    from selenium.webdriver import ActionChains

    canvas = browser.find_element("id", "canvas")
    # The panel takes 290 on the left, the card 390 on the right.
    ActionChains(browser).move_to_element_with_offset(canvas, -50, 0).click().perform()


@pytest.mark.slow
def test_a_person_finds_reads_and_follows(browser: "Chrome", graph: MergedGraph, tmp_path: Path) -> None:
    opened(browser, graph, tmp_path / "graph.html")
    assert text(browser, "counts") == "41 entities in 25 documents."
    assert "person\n17" in text(browser, "legend")
    choose(browser, "gannet")
    card = text(browser, "card")
    for said in ("Gannet Light", "lighthouse", "year completed\n1878", "built by Ada Lindqvist", "tomas-vey"):
        assert said in card
    quotes = [each.text for each in browser.find_elements("css selector", "#card mark")]
    assert quotes == ["Gannet Light"] * 5
    browser.find_elements("css selector", "#card .relation")[0].click()
    assert "2 documents say so" in text(browser, "card")
    assert "It was designed by Ada Lindqvist" in text(browser, "card")
    browser.find_element("css selector", "#card .close").click()
    assert not browser.find_element("id", "card").is_displayed()


@pytest.mark.slow
def test_a_click_on_a_node_and_on_an_edge_opens_its_card(browser: "Chrome", graph: MergedGraph, tmp_path: Path) -> None:
    opened(browser, graph, tmp_path / "graph.html")
    choose(browser, "gannet")
    browser.execute_script("document.querySelector('#card .close').click()")
    click_middle(browser)
    assert text(browser, "card").startswith("×\nGannet Light")
    browser.find_elements("css selector", "#card .relation")[0].click()
    browser.execute_script("document.querySelector('#card .close').click()")
    click_middle(browser)
    assert text(browser, "card").startswith("×\nbuilt by")


@pytest.mark.slow
def test_classes_and_confidence_are_filters_and_the_picture_moves(browser: "Chrome", graph: MergedGraph, tmp_path: Path) -> None:
    opened(browser, graph, tmp_path / "graph.html")
    whole = canvas_hash(browser)
    browser.find_element("css selector", "#legend input").click()
    assert text(browser, "counts") == "24 of 41 entities in 25 documents."
    processes.wait_until(lambda: canvas_hash(browser) != whole, SECONDS)
    browser.find_element("css selector", "#legend input").click()
    browser.execute_script(
        "const range = document.getElementById('confidence'); range.value = 85; range.dispatchEvent(new Event('input'))"
    )
    most_certain = sum(node.confidence >= 0.85 for node in graph.nodes())
    assert text(browser, "counts") == f"{most_certain} of 41 entities in 25 documents."
    before = canvas_hash(browser)
    browser.find_element("id", "closer").click()
    processes.wait_until(lambda: canvas_hash(browser) != before, SECONDS)


@pytest.mark.slow
def test_a_large_graph_begins_with_the_most_connected_and_search_shows_the_rest(
    browser: "Chrome", graph: MergedGraph, tmp_path: Path
) -> None:
    opened(browser, graph, tmp_path / "graph.html", first=10, most=30)
    said = (
        "10 of 41 entities in 25 documents. 20 less connected ones are left out; search shows them. 11 more are in exports only."
    )
    assert text(browser, "counts") == said
    *_, left_out = graph.nodes("ORDER BY degree DESC, documents DESC, n LIMIT 30")
    assert left_out.degree > 0
    choose(browser, left_out.name.lower())
    assert text(browser, "card").startswith(f"×\n{left_out.name}")
    counted = re.search(r"(\d+) less connected", text(browser, "counts"))
    assert counted is not None
    assert int(counted[1]) < 20


@pytest.mark.slow
def test_hostile_names_stay_text(browser: "Chrome", hostile: MergedGraph, tmp_path: Path) -> None:
    opened(browser, hostile, tmp_path / "graph.html")
    for name in ("<script>", "</script>", "]]>"):
        choose(browser, name)
        assert name in text(browser, "card")
    assert browser.title == "Knowledge graph of hostile"
    assert browser.execute_script("return document.images.length + document.scripts.length") == 2


def test_the_page_holds_its_data_as_text_and_allows_its_own_script_alone(hostile: MergedGraph, tmp_path: Path) -> None:
    file = write(hostile, tmp_path / "graph.html", Options()).files[0]
    html = file.read_text(encoding="utf-8")
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(data)
    assert {node[0] for node in json.loads(data)["nodes"]} == set(odd.NAMES)
    assert "default-src 'none'" in html
    assert re.findall(r"<script(?: [^>]*)?>", html) == ['<script type="application/json" id="data">', "<script>"]
    assert not re.search(r"(?:src|href)=|https?://(?!www\.w3\.org)(?!example)", html.replace(data, ""))


def test_the_most_connected_are_laid_out_the_same_each_time(graph: MergedGraph, tmp_path: Path) -> None:
    pages = [write(graph, tmp_path / f"{number}.html", Options()).files[0].read_bytes() for number in range(2)]
    assert pages[0] == pages[1]
