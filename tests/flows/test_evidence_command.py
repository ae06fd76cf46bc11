"""The evidence on one page: each verdict from rows, reports and tests, with the age of every figure."""

import json
from pathlib import Path
from typing import Any

import pages as docs
import pytest
from sqlalchemy import text

import faults
import flows
from compat.cutover import evidence, figures, pages, record
from compat.cutover.built import RISKS
from compat.errors import InvalidInputError
from compat.parity.risks import RISKS as COMPARED
from compat.store import Store
from flows.shadow.comparison import run_shadow

JUNIT = """<testsuites><testsuite timestamp="2026-11-26T01:00:00+00:00">
<testcase classname="tests.compat.test_errors" name="test_an_error_comes_back_from_the_store_as_itself[a]"/>
<testcase classname="tests.compat.test_errors" name="test_an_error_comes_back_from_the_store_as_itself[b]">{failure}</testcase>
</testsuite></testsuites>"""


def gathered(junit: Path | None = None) -> evidence.Evidence:
    return evidence.gathered(Store.from_settings(), Store.of_shadows(), 1, "7d", junit)


def verdicts(found: evidence.Evidence) -> dict[str, str]:
    return {risk.risk: risk.verdict for risk in found.risks}


@pytest.mark.parametrize("risk", RISKS)
def test_every_test_that_is_named_is_there(risk: str) -> None:
    for name in RISKS[risk].tests:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (docs.ROOT / file).read_text(encoding="utf-8"), name


def test_the_risks_are_the_contracts() -> None:
    contract = (docs.ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in contract.splitlines() if line.startswith("| R")}
    assert rows.keys() == RISKS.keys()
    assert [risk for risk, row in rows.items() if RISKS[risk].title not in row] == []
    assert COMPARED.keys() < RISKS.keys()


def test_without_rows_nothing_is_shown_but_what_the_code_itself_says(environment: pytest.MonkeyPatch) -> None:
    assert verdicts(gathered()) == {**dict.fromkeys(RISKS, "not enough"), "R9": "shown"}


def test_each_verdict_comes_from_rows_reports_and_tests(
    prefect_server: None, nobody_submits: None, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Path
) -> None:
    documents = [faults.document("a"), *(faults.document(f"b{number}", fail=3) for number in range(7))]
    flows.run_batch(request_of([*documents, faults.document("c", fail=faults.ALWAYS)], "compared"), "shadow")
    store, shadows = Store.from_settings(), Store.of_shadows()
    run_shadow(store, shadows, "compared", "tape")
    flows.run_batch(request_of([faults.document("d", fail=4)], "resumed"), "legacy")
    flows.resume_batch("resumed", "legacy")
    found = gathered()
    assert verdicts(found) == dict.fromkeys(RISKS, "shown")
    assert found.agreement["R1"] == (1, 0)
    assert list(found.pairs) == ["compared"]
    assert {runtime.name: runtime.attempts for runtime in found.runtimes}["engine (shadow)"] == {1: 1, 4: 8}
    assert {risk.tested for risk in found.risks} == {"2 not run", "3 not run"}
    # What speaks against a risk is seen, whatever was seen before.
    with store.database.write() as connection:
        connection.execute(text("UPDATE knowledge_workflow_activity SET status = 'completed'"))
    assert verdicts(gathered())["R5"] == "contradicted"
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT.format(failure="<failure/>"), encoding="utf-8")
    tested = gathered(report)
    assert verdicts(tested)["R6"] == "contradicted"
    assert tested.tested_at == "2026-11-26T01:00:00+00:00"
    report.write_text(JUNIT.format(failure=""), encoding="utf-8")
    [(passed, counted)] = [
        (test, risk.tested) for risk in gathered(report).risks for test in risk.tests if test.outcome == "passed"
    ]
    assert counted == "1 passed, 1 not run"
    assert passed.name == "tests/compat/test_errors.py::test_an_error_comes_back_from_the_store_as_itself"


def test_a_page_has_the_plots_the_figures_and_the_drills(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("<b>")], "b"), "legacy")
    details = {"seconds_to_legacy": 2.5, "is_good": True}
    record.keep(Store.from_settings().database, record.Change("drill", details=details))
    record.set_mode(Store.from_settings().database, "engine", 5.0, None, "promote", "<i>why</i>", True)
    found = gathered()
    html, markdown = pages.page(found), pages.markdown(found)
    for label in ("agreement by risk", "attempts by runtime", "time to serve in both runtimes"):
        assert f'aria-label="{label}"' in html
    assert "<i>why" not in html
    assert "1 drill, the newest 0 s ago; 1 with 0 lost, 0 served twice and old readers right." in html
    assert "Time to legacy: least 2.50 s" in html
    assert "promote engine for 5 % of batches past the gate" in markdown
    assert "| documents extracted | 1 | 0 s ago | knowledge" in markdown
    assert json.loads(json.dumps(found.to_dict()))["risks"][0]["risk"] == "R1"


def test_a_runtime_that_imports_an_extractor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RUNTIMES", ("tasks.extraction",))
    found = figures.imports_of_extractors()
    assert found.verdict == "contradicted"
    assert "imports tasks.extraction.llm" in found.reason


def test_a_report_of_tests_that_is_none_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="write it with: pytest --junitxml="):
        gathered(tmp_path / "none.xml")
