"""The walk through Prefect's page as a person takes it, in a real browser: form, run, what came of it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import processes
import pytest
import stacks

import faults
from compat.store import Store
from compat.store.database import Database

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

SECONDS = 120.0


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'knowledge-batch[test]'")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser here: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1800"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stack lies, and its screenshots for whoever wants to look."""
    return tmp_path_factory.mktemp("walk")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[stacks.Stack]:
    with stacks.up(folder) as stack:
        yield stack


class Page:
    """Prefect's page, told what to do by the words on it."""

    def __init__(self, browser: "Chrome", folder: Path) -> None:
        self.browser = browser
        self.folder = folder

    def open(self, url: str, until: str) -> None:
        self.browser.get(url)
        self.wait_for(until)

    def wait_for(self, text: str) -> None:
        processes.wait_until(lambda: text in self.text(), SECONDS)

    def text(self) -> str:
        return str(self.browser.execute_script("return document.body ? document.body.innerText : ''"))

    def click(self, text: str) -> None:
        """Clicks what bears exactly this text and shows."""
        path = f"//*[self::button or self::a or self::li or self::span or @role='tab'][normalize-space()={text!r}]"

        def clicked() -> bool:
            for element in self.browser.find_elements("xpath", path):
                if element.is_displayed():
                    self.browser.execute_script("arguments[0].click()", element)
                    return True
            return False

        processes.wait_until(clicked, SECONDS)

    def field(self, label: str) -> Any:
        """The field below a label of the form."""
        called = f"normalize-space()='{label}' or normalize-space()='{label} (Optional)'"
        path = f"//form//*[{called}]/following::*[self::textarea or self::input or self::select][1]"
        return self.browser.find_element("xpath", path)

    def fill(self, label: str, text: str) -> None:
        field = self.field(label)
        field.clear()
        field.send_keys(text)

    def choose(self, label: str, option: str) -> None:
        self.field(label).find_element("xpath", f"./option[normalize-space()='{option}']").click()

    def keep(self, name: str) -> None:
        self.browser.save_screenshot(str(self.folder / f"{name}.png"))


@pytest.fixture
def page(browser: "Chrome", folder: Path) -> Page:
    return Page(browser, folder)


@pytest.mark.parametrize("mode", ["legacy", "engine", "shadow"])
def test_a_batch_is_started_from_the_form_watched_and_read(page: Page, stack: stacks.Stack, folder: Path, mode: str) -> None:
    documents = [faults.document(f"letter {number}", seconds=0.2) for number in range(12)]
    documents.append(faults.document("a broken letter", fail=faults.ALWAYS, how="ontology"))
    source = stacks.source(folder / mode, documents)

    open_form(page, stack)
    page.fill("Documents", source)
    page.fill("Batch ID", f"letters in {mode}")
    page.choose("Mode", mode)
    page.keep(f"{mode}-form")
    page.click("Submit")

    name = f"letters in {mode} ({mode})"
    processes.wait_until(lambda: bool(runs(stack, name)), SECONDS)
    # In engine mode the flow run within bears the same name.
    [run] = [run for run in runs(stack, name) if run["deployment_id"]]
    page.open(f"{stack.page}/runs/flow-run/{run['id']}", name)
    page.keep(f"{mode}-running")
    page.wait_for("Completed")
    page.wait_for("document a broken letter: OntologyParseError")
    page.keep(f"{mode}-run")

    page.click("Artifacts")
    page.wait_for("batch-summary")
    page.keep(f"{mode}-artifacts")
    shown = {artifact["key"]: artifact["id"] for artifact in artifacts(stack, str(run["id"]))}
    page.open(f"{stack.page}/artifacts/artifact/{shown['batch-summary']}", f"Batch letters in {mode}: completed")
    page.wait_for("13 of 13: 12 extracted, 1 failed")
    page.keep(f"{mode}-summary")
    page.open(f"{stack.page}/artifacts/artifact/{shown['batch-documents']}", "a broken letter")
    lines = page.text()
    assert lines.index("a broken letter") < lines.index("letter 0")
    page.keep(f"{mode}-documents")


def test_the_form_calls_its_fields_by_titles_and_says_of_a_wrong_value_what_is_wrong(page: Page, stack: stacks.Stack) -> None:
    open_form(page, stack)
    form = page.text()
    assert "Documents\n" in form
    assert "Ontology (Optional)" in form
    # What begins with a value is nothing that one may leave out.
    assert not [
        line for line in form.splitlines() if line.endswith("(Optional)") and line.startswith(("Documents", "Mode", "Con"))
    ]
    assert not re.search(r"[a-z]_[a-z]", form)
    page.fill("Documents", "postgresql://me:hush@db.example.org/x")
    page.click("Submit")
    page.wait_for("an address without a password, which Prefect would show")
    page.keep("refused")


def test_a_source_that_cannot_be_read_ends_as_failed_with_its_message_under_the_given_name(
    page: Page, stack: stacks.Stack, folder: Path
) -> None:
    open_form(page, stack)
    page.fill("Documents", str(folder / "nowhere"))
    page.fill("Run Name", "Letters of March")
    page.click("Submit")
    processes.wait_until(lambda: bool(runs(stack, "Letters of March")), SECONDS)
    [run] = runs(stack, "Letters of March")
    stack.wait_for(run["id"], "Failed")
    page.open(f"{stack.page}/runs/flow-run/{run['id']}", "Failed")
    # The line of its own, which comes last.
    page.wait_for("\nDocuments = ")
    page.keep("bad-source")
    assert f"{folder / 'nowhere'}': no such file or folder" in page.text()
    assert "Traceback" not in page.text()
    assert "Letters of March" in page.text()


def test_failed_documents_run_again_from_the_form(page: Page, stack: stacks.Stack, folder: Path) -> None:
    documents = [faults.document("good"), faults.document("bad", fail=4)]
    source = stacks.source(folder / "again", documents)
    first = stack.start("run-batch/on-demand", source=source, batch_id="again", mode="legacy", fail_on_error=True)
    run = stack.wait_for(first, "Failed")
    page.open(f"{stack.page}/runs/flow-run/{first}", "Failed")
    page.wait_for("1 of 2 documents failed; run them again")
    page.keep("fail-on-error")
    assert run["name"] == "again (legacy)"
    open_form(page, stack)
    page.fill("Failed documents of", "again")
    page.fill("Batch ID", "once more")
    page.click("Submit")
    processes.wait_until(lambda: any(run["state"]["type"] == "COMPLETED" for run in runs(stack, "once more (legacy)")), SECONDS)
    [run] = runs(stack, "once more (legacy)")
    page.open(f"{stack.page}/runs/flow-run/{run['id']}", "the failed documents of again")
    page.keep("failed-of")


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_run_that_is_cancelled_on_the_page_ends_its_batch(page: Page, stack: stacks.Stack, folder: Path, mode: str) -> None:
    documents = [faults.document(f"slow {number}", seconds=0.5) for number in range(400)]
    source = stacks.source(folder / f"slow-{mode}", documents)
    run_id = stack.start("run-batch/on-demand", source=source, batch_id=f"slow in {mode}", mode=mode)
    stack.wait_for(run_id, "Running")
    page.open(f"{stack.page}/runs/flow-run/{run_id}", "document slow 1: extracted")
    page.click("Cancel")
    page.click("Confirm")
    page.keep("cancel")
    run = stack.wait_for(run_id, "Cancelled")
    page.open(f"{stack.page}/runs/flow-run/{run_id}", "Cancelled")
    page.keep(f"{mode}-cancelled")
    assert "Traceback" not in page.text()
    store = Store(Database(f"sqlite:///{stack.home / 'knowledge.db'}"), lease_seconds=60)
    processes.wait_until(lambda: store.batch(f"slow in {mode}").ended, SECONDS)
    assert store.batch(f"slow in {mode}").status == "cancelled"
    assert run["name"] == f"slow in {mode} ({mode})"


def test_a_schedule_that_is_switched_off_on_the_page_stays_off(page: Page, stack: stacks.Stack) -> None:
    nightly = stack.deployment("run-batch/nightly")
    page.open(f"{stack.page}/deployments/deployment/{nightly}", "Schedules")
    processes.wait_until(lambda: bool(page.browser.find_elements("css selector", "[role=switch]")), SECONDS)
    page.browser.execute_script("arguments[0].click()", page.browser.find_element("css selector", "[role=switch]"))

    def is_off() -> bool:
        return not any(each["active"] for each in stack.ask(f"/deployments/{nightly}")["schedules"])

    processes.wait_until(is_off, SECONDS)
    page.keep("schedule-off")
    done = subprocess.run(
        stacks.command("deploy"),
        capture_output=True,
        text=True,
        env=processes.environment(PREFECT_API_URL=f"{stack.page}/api", KNOWLEDGE_HOME=str(stack.home)),
    )
    assert "the schedule 0 2 * * * Etc/UTC is off" in done.stderr
    assert is_off()


def test_a_person_sees_at_the_shadows_run_whether_it_agreed(page: Page, stack: stacks.Stack, folder: Path) -> None:
    documents = [faults.document(f"note {number}") for number in range(5)]
    documents.append(faults.document("a broken note", fail=faults.ALWAYS, how="ontology"))
    parameters = {"source": stacks.source(folder / "agreeing", documents), "batch_id": "notes", "mode": "shadow"}
    stack.wait_for(stack.start("run-batch/on-demand", **parameters), "Completed")

    see_the_shadow(page, stack, "shadow of notes", "Parity")
    open_artifact(page, stack, "shadow of notes", "parity", "6 documents, 6 attempts, no difference")


def test_a_person_sees_at_the_shadows_run_where_it_differed(page: Page, stack: stacks.Stack, folder: Path) -> None:
    documents = [faults.document(f"memo {number}") for number in range(5)]
    source = stacks.source(folder / "differing", documents)
    # The shadow is given a tape that isn't what legacy's extractor said.
    stack.wait_for(stack.start("run-batch/on-demand", source=source, batch_id="memos", mode="legacy"), "Completed")
    store = Store(Database(f"sqlite:///{stack.home / 'knowledge.db'}"), lease_seconds=60)
    stacks.tape_something_else(store, "memos", "memo 1")
    stack.start("shadow-batch/shadow", batch_id="memos")

    see_the_shadow(page, stack, "shadow of memos", "Diverged")
    # On the page that opens first: that it differed, and where.
    page.wait_for("first: changed: documents.outcome of memo 1: succeeded → failed")
    page.keep("diverged-run")
    page.click("Artifacts")
    page.wait_for("parity-differences")
    page.keep("diverged-artifacts")
    open_artifact(page, stack, "shadow of memos", "parity", "documents.outcome of memo 1")
    open_artifact(page, stack, "shadow of memos", "parity-differences", "memo 1")


def open_form(page: Page, stack: stacks.Stack) -> None:
    page.open(f"{stack.page}/deployments/deployment/{stack.deployment('run-batch/on-demand')}/run", "Batch ID (Optional)")


def see_the_shadow(page: Page, stack: stacks.Stack, name: str, verdict: str) -> None:
    processes.wait_until(lambda: any(run["state"]["name"] == verdict for run in runs(stack, name)), SECONDS)
    [run] = runs(stack, name)
    page.open(f"{stack.page}/runs/flow-run/{run['id']}", name)
    page.wait_for(verdict)
    page.keep(f"{verdict.lower()}-run")


def open_artifact(page: Page, stack: stacks.Stack, name: str, key: str, until: str) -> None:
    [run] = runs(stack, name)
    [shown] = [artifact["id"] for artifact in artifacts(stack, str(run["id"])) if artifact["key"] == key]
    page.open(f"{stack.page}/artifacts/artifact/{shown}", until)
    page.keep(f"{run['state']['name'].lower()}-{key}")


def runs(stack: stacks.Stack, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return found


def artifacts(stack: stacks.Stack, flow_run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}})
    return found
