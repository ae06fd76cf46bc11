"""The report as it is read and kept, the rules of a comparison, the noise of the live channel, and the gate. No Prefect."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from compat.errors import InvalidInputError
from compat.parity import render
from compat.parity.baseline import Baseline, Noise, Subject, measure, wilson
from compat.parity.diff import APPROVED, Difference, Findings, Ignore, Rules, Tolerance, compare, compare_pairs
from compat.parity.frames import KEYS, Frames, frames
from compat.parity.gate import Served, check, parse_age, upper_bound
from compat.parity.report import ParityReport, Stage, page
from compat.parity.versions import Versions, code_of, extractor_hash, versions

GOLDEN = Path(__file__).parent / "golden"
TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CURRENT = Versions("1.0.0", "3.8.8", "c0de", "5cema")


def side(name: str, rows: list[dict[str, Any]]) -> Frames:
    return frames({name: rows})


def documents(**values: Any) -> Frames:
    return side("documents", [{"document_id": "a", "outcome": "succeeded", "score": 1.0, **values}])


def differences(one: Frames, other: Frames, rules: Rules | None = None) -> list[Difference]:
    return compare(one, other, rules or Rules(), TODAY)


def report(batch: str = "b", verdict: Any = "parity", **values: Any) -> ParityReport:
    found = ParityReport(
        batch_id=batch,
        channel="tape",
        verdict=verdict,
        headline="3 documents, 23 attempts, no difference",
        policy="retry-failed",
        documents=3,
        attempts=23,
        retries=20,
        content_hash=f"documents of {batch}",
        counts={"R1": 0, "R2": 0, "R3": 0, "R4": 0, "R7": 0},
        samples={},
        by_document={},
        stages={name: Stage(3, 0) for name in KEYS},
        rules=Rules(),
        expired=(),
        versions=CURRENT,
        ontology_hash="0",
        policy_hash="1",
        created_at=NOW,
        duration_seconds=0.25,
        report_id=f"knowledge_parity_report__{batch}",
    )
    return replace(found, **values)


def diverged(batch: str = "b", **values: Any) -> ParityReport:
    samples: Mapping[Any, Any] = {
        "R1": (Difference("R1", "changed", "documents", ("one | two",), "outcome", "succeeded", "failed"),),
        "R7": (Difference("R7", "missing", "events", ("<three>", "1"), None, "{'event': 'DocumentCompleted'}", None),),
    }
    rules = Rules(
        (Tolerance("entities", "confidence", 0.001),),
        (Ignore("documents", "chunk_count", "chunks are cut anew", "ada", date(2026, 12, 1)),),
    )
    return report(
        batch,
        "diverged",
        headline="2 differences (R1 1, R7 1); first: changed: documents.outcome of one | two: succeeded → failed",
        counts={"R1": 1, "R2": 0, "R3": 0, "R4": 0, "R7": 1},
        samples=samples,
        by_document={"one | two": 1, "<three>": 1},
        stages={
            **{name: Stage(3, 0) for name in KEYS},
            "documents": Stage(3, 1),
            "events": Stage(9, 1),
            "relations": Stage(0, 0),
        },
        rules=rules,
        expired=("events.payload",),
        **values,
    )


# --- Report -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_the_report_reads_as_it_did(ending: str) -> None:
    """After a wanted change: REGEN=1 pytest tests/parity/test_report.py, then look at what changed."""
    made = {
        "json": json.dumps(diverged().to_dict(), indent=1, ensure_ascii=False) + "\n",
        "md": render.markdown(diverged()) + "\n" + render.markdown(report()),
        "html": page([diverged(), report("c")]),
    }[ending]
    file = GOLDEN / f"report.{ending}"
    if os.environ.get("REGEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(made, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == made


def test_a_stored_report_comes_back_as_it_was() -> None:
    assert ParityReport.from_dict(json.loads(json.dumps(diverged().to_dict()))) == diverged()


def test_the_page_needs_nothing_beside_it_and_trusts_no_text() -> None:
    html = render.page([diverged()])
    assert "http" not in html
    assert "<script" not in html
    assert "<three>" not in html
    assert html.count("<svg") == 2


# --- Rules --------------------------------------------------------------------------------------------------------------


def test_nothing_is_tolerated_without_a_rule() -> None:
    [found] = differences(documents(), documents(score=1.0000001))
    assert (found.kind, found.risk, found.column, found.legacy, found.engine) == ("changed", "R1", "score", "1.0", "1.0000001")


def test_a_tolerance_holds_for_its_column_up_to_its_width() -> None:
    rules = Rules((Tolerance("documents", "score", 0.01),))
    assert differences(documents(), documents(score=1.005), rules) == []
    assert len(differences(documents(), documents(score=1.02), rules)) == 1
    assert len(differences(documents(), documents(score="1.005"), rules)) == 1


def test_an_ignored_column_is_compared_again_once_its_rule_has_expired() -> None:
    rule = Ignore("documents", "score", "is measured anew", "ada", TODAY)
    assert differences(documents(), documents(score=2.0), Rules((), (rule,))) == []
    late = replace(rule, expires=TODAY - timedelta(days=1))
    assert len(differences(documents(), documents(score=2.0), Rules((), (late,)))) == 1
    assert Rules((), (late,)).expired(TODAY) == (late,)


@pytest.mark.parametrize("field", ["reason", "owner"])
def test_an_ignore_rule_needs_a_reason_and_an_owner(field: str) -> None:
    given = {"reason": "is measured anew", "owner": "ada", field: " "}
    with pytest.raises(InvalidInputError, match=field):
        Ignore("documents", "score", given["reason"], given["owner"], TODAY)


def test_sides_with_the_same_repeated_keys_are_equal_whatever_their_order() -> None:
    rows = [{"document_id": "a", "outcome": "failed"}, {"document_id": "a", "outcome": "succeeded"}]
    assert differences(side("documents", rows), side("documents", rows[::-1])) == []
    [found] = differences(side("documents", rows), side("documents", [rows[0], rows[0]]))
    assert (found.kind, found.column, found.legacy, found.engine) == ("changed", "outcome", "succeeded", "failed")


def test_rows_of_one_key_are_a_finding_and_paired_with_none() -> None:
    twice = side("documents", [{"document_id": "a", "outcome": "failed"}, {"document_id": "a", "outcome": "succeeded"}])
    once = side("documents", [{"document_id": "a", "outcome": "succeeded"}])
    for one, other, shown in ((twice, once, ("2 rows of this key", None)), (once, twice, (None, "2 rows of this key"))):
        found = differences(one, other)
        assert ("duplicate", *shown) in [(each.kind, each.legacy, each.engine) for each in found]
        assert "changed" not in {each.kind for each in found}


def test_a_missing_value_is_not_a_number() -> None:
    assert len(differences(documents(), documents(score=None))) == 1
    assert differences(documents(score=None), documents(score=None)) == []


def test_sides_without_rows_do_not_differ() -> None:
    assert differences(frames({}), frames({})) == []


def test_true_is_not_one_and_a_column_that_one_side_lacks_differs() -> None:
    assert len(differences(documents(flag=True), documents(flag=1))) == 1
    for one, other in ((documents(more="x"), documents()), (documents(), documents(more="x"))):
        [found] = differences(one, other)
        assert (found.kind, found.column, {found.legacy, found.engine}) == ("changed", "more", {"x", None})


def test_long_values_are_shown_where_they_begin_to_differ() -> None:
    [found] = differences(documents(index="x" * 5_000 + "one"), documents(index="x" * 5_000 + "other"))
    assert found.legacy is not None
    assert found.engine is not None
    assert (len(found.legacy), found.legacy[-3:], found.engine[-5:]) == (200, "one", "other")


def test_no_more_is_kept_of_what_differs_than_is_shown() -> None:
    rows = [{"document_id": f"d{number}", "outcome": "failed"} for number in range(1_000)]
    blocks = [(side("documents", rows), side("documents", [{**row, "outcome": "succeeded"} for row in rows]))] * 3
    found = compare_pairs(blocks, Rules(), TODAY)
    assert found.by_risk()["R1"] == found.total == 3_000
    assert len(found.first("R1")) == sum(map(len, found.samples.values())) == 20


def test_the_approved_divergences_are_those_that_the_handoff_lists() -> None:
    handoff = Path(__file__).parents[2] / "deployments" / "handoffs" / "HANDOFF_P4.md"
    text = handoff.read_text(encoding="utf-8").partition("## Approved divergences")[2].partition("\n## ")[0]
    rules = [f"`{rule.frame}.{rule.column}`" for rule in (*APPROVED.tolerances, *APPROVED.ignores)]
    assert [rule for rule in rules if rule not in text] == []
    assert text.strip().startswith("None.") == (not rules)


# --- Noise of the live channel ------------------------------------------------------------------------------------------

SUBJECT = Subject("ontology", "continue-on-failure", "rules", "c0de")


def noisy(*differing: int) -> Frames:
    """A hundred documents with an entity each, of which these are otherwise."""
    rows = [{"document_id": f"d{n}", "entity_id": "e", "types": "other" if n in differing else "one"} for n in range(100)]
    return frames({"entities": rows, "requests": [{"document_id": row["document_id"]} for row in rows]})


def compared(one: Frames, other: Frames) -> Findings:
    return compare_pairs([(one, other)], Rules(), TODAY, known={f"d{number}" for number in range(100)})


def baseline() -> Baseline:
    sides = [noisy(), noisy(*range(4)), noisy(*range(6))]
    return measure(SUBJECT, 3, [compared(a, b) for a, b in combinations(sides, 2)])


def test_a_baseline_is_the_rate_at_which_legacy_differs_from_itself() -> None:
    noise = baseline().columns["entities.types"]
    assert (noise.differing, noise.compared) == (12, 300)
    low, high = noise.interval
    assert low < 0.04 < high < 0.07
    assert baseline().documents["d5"] == Noise(2, 3)
    assert Baseline.from_dict(json.loads(json.dumps(baseline().to_dict()))) == baseline()


def test_differences_within_the_noise_do_not_count() -> None:
    kept, noise = baseline().above_noise(compared(noisy(), noisy(*range(5))))
    assert (kept.total, noise) == (0, 5)


def test_differences_above_the_noise_do() -> None:
    kept, noise = baseline().above_noise(compared(noisy(), noisy(*range(40))))
    assert (kept.total, noise) == (40, 0)


def test_documents_that_never_differed_are_judged_by_their_own_quiet() -> None:
    """As many as are noise among the noisy ones: of the others so many are none."""
    loud = measure(SUBJECT, 9, [compared(noisy(), noisy(*range(30)))] * 36)
    assert loud.above_noise(compared(noisy(), noisy(*range(20))))[0].total == 0
    assert loud.above_noise(compared(noisy(), noisy(*range(40, 60))))[0].total == 20


@pytest.mark.parametrize(
    ("frame", "key", "column"),
    [("batch", "batch_id", "terminal_event"), ("batch", "batch_id", "adds_up"), ("documents", "document_id", "owner")],
)
def test_what_the_extractor_has_no_hand_in_is_never_noise(frame: str, key: str, column: str) -> None:
    loud = Baseline(SUBJECT, 3, {f"{frame}.{column}": Noise(50, 100)}, {})
    found = compared(side(frame, [{key: "b", column: "one"}]), side(frame, [{key: "b", column: "other"}]))
    assert loud.above_noise(found) == (found, 0)


def test_an_interval_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


# --- The gate -----------------------------------------------------------------------------------------------------------


def gate(reports: list[ParityReport], min_batches: int = 3) -> Any:
    return check(reports, NOW, CURRENT, min_batches)


THREE = [report(name) for name in "abc"]


def test_enough_fresh_agreement_is_a_go() -> None:
    checked = gate(THREE)
    assert (checked.verdict, checked.exit_code) == ("go", 0)
    assert [row.risk for row in checked.rows] == ["R1", "R2", "R3", "R4", "R7"]
    assert (checked.rows[0].kind, checked.rows[0].batches, checked.rows[0].documents, checked.rows[0].attempts) == (
        "tape",
        3,
        9,
        69,
    )


@pytest.mark.parametrize(
    "reports",
    [
        [],
        THREE[:2],
        [THREE[0]] * 5,
        [*THREE[:2], report("c", "inconclusive")],
        [*THREE[:2], report("c", created_at=NOW - timedelta(days=8))],
        [*THREE[:2], report("c", versions=replace(CURRENT, code="other"))],
        [*THREE[:2], report("c", versions=replace(CURRENT, schema="other"))],
        [*THREE[:2], report("c", versions=replace(CURRENT, prefect="3.8.9"))],
    ],
    ids=["none", "too little", "one batch many times", "inconclusive", "too old", "other code", "other schema", "other Prefect"],
)
def test_no_fresh_evidence_is_never_a_go(reports: list[ParityReport]) -> None:
    assert (gate(reports).verdict, gate(reports).exit_code) == ("not enough", 2)


def test_one_divergence_is_a_no_go_in_its_risk_alone() -> None:
    checked = gate([*THREE, diverged("d")])
    assert (checked.verdict, checked.exit_code) == ("no-go", 1)
    assert {row.risk: row.verdict for row in checked.rows} == {"R1": "no-go", "R2": "go", "R3": "go", "R4": "go", "R7": "no-go"}
    assert "knowledge-batch parity show knowledge_parity_report__d" in checked.rows[0].reason


def test_a_divergence_is_not_outweighed_by_a_later_agreement_of_its_batch() -> None:
    assert gate([*THREE, diverged("a", created_at=NOW - timedelta(days=1))]).verdict == "no-go"


def test_a_stale_divergence_does_not_count() -> None:
    assert gate([*THREE, diverged("d", versions=replace(CURRENT, code="other"))]).verdict == "go"


def test_a_shadow_that_has_not_reported_keeps_the_gate_shut() -> None:
    checked = check(THREE, NOW, CURRENT, 3, unreported=["lost one"])
    assert (checked.verdict, checked.exit_code) == ("not enough", 2)
    assert "1 shadows were submitted and have not reported" in checked.to_markdown()
    assert "batch_id='lost one'" in checked.missing[0]


def test_a_batch_is_no_evidence_for_a_risk_whose_frames_were_empty() -> None:
    silent = [replace(each, stages={**each.stages, "events": Stage(0, 0)}) for each in THREE]
    assert {row.risk: row.verdict for row in gate(silent).rows} == {
        "R1": "go", "R2": "go", "R3": "go", "R4": "go", "R7": "not enough",
    }  # fmt: skip


def test_a_go_says_under_which_policies_and_how_much_was_retried() -> None:
    checked = gate([*THREE[:2], report("c", policy="abort-all")])
    assert checked.rows[0].reason == "no divergence under abort-all, retry-failed; 60 retries"


def test_a_batch_counts_once_whatever_ids_its_documents_come_under() -> None:
    same = [report(name, content_hash="the same documents") for name in "abc"]
    assert gate(same).verdict == "not enough"
    assert gate(same).rows[0].batches == 1
    assert gate([*same, *THREE[:2]]).verdict == "go"
    # Under another policy they are worked through in another way.
    assert gate([same[0], replace(same[1], policy="abort-all"), THREE[0]]).rows[0].batches == 3


@pytest.mark.parametrize("retries", [0, 6])
def test_a_go_needs_twenty_retries_by_every_owner_in_use(retries: int) -> None:
    quiet = [replace(each, retries=retries) for each in THREE]
    row = gate(quiet).rows[1]
    assert (gate(quiet).exit_code, row.verdict) == (2, "not enough")
    assert row.reason == f"{3 * retries} retries by the owner orchestrator seen, 20 wanted"
    # Those of the other owner don't do.
    both = gate([*quiet, report("d", policy="continue-on-failure")])
    assert [row.verdict for row in both.rows] == ["go", "not enough", "go", "go", "go"]


def test_a_policy_that_can_not_be_retried_needs_no_retries() -> None:
    quiet = [replace(each, retries=0) for each in THREE]
    served = Served(frozenset({"retry-failed"}), frozenset())
    assert check(quiet, NOW, CURRENT, 3, served=served).verdict == "go"


def test_a_go_needs_every_policy_that_served() -> None:
    served = Served(frozenset({"retry-failed", "abort-all"}), frozenset({"orchestrator"}))
    checked = check(THREE, NOW, CURRENT, 3, served=served)
    assert (checked.verdict, checked.exit_code) == ("not enough", 2)
    assert {row.reason for row in checked.rows} == {"no batch compared under abort-all"}


def test_what_could_not_be_compared_and_what_is_too_old_are_counted() -> None:
    reports = [*THREE[:2], report("c", "inconclusive"), report("d", created_at=NOW - timedelta(days=8))]
    row = check(reports, NOW, CURRENT, 3, older=4).rows[0]
    assert row.reason == "1 more batch wanted; 5 reports are stale; 1 report is inconclusive"


def test_a_report_from_the_future_counts_against_a_go_and_never_for_one() -> None:
    late = report("d", created_at=NOW + timedelta(minutes=1))
    assert gate([*THREE[:2], late]).rows[0].batches == 2
    shut = gate([*THREE, late])
    assert (shut.verdict, shut.exit_code) == ("not enough", 2)
    assert "knowledge-batch parity show knowledge_parity_report__d" in shut.missing[0]
    assert gate([*THREE, diverged("d", created_at=late.created_at)]).verdict == "no-go"
    # Two machines' clocks are never quite the same.
    assert gate([*THREE, replace(late, created_at=NOW + timedelta(seconds=1))]).verdict == "go"


def test_a_report_of_a_newer_version_can_be_read() -> None:
    assert ParityReport.from_dict({**diverged().to_dict(), "added_later": 1}) == diverged()


def test_a_go_wants_at_least_one_batch() -> None:
    with pytest.raises(InvalidInputError, match="--min-batches"):
        gate(THREE, 0)


@pytest.mark.parametrize(
    ("hits", "trials", "bound"), [(0, 30, 0.0950), (0, 50, 0.0582), (1, 50, 0.0914), (3, 10, 0.6066), (0, 0, 1.0), (2, 2, 1.0)]
)
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, trials: int, bound: float) -> None:
    assert upper_bound(hits, trials) == pytest.approx(bound, abs=5e-5)


def test_the_upper_bound_of_thousands_is_a_number_as_well() -> None:
    assert 0.15 < upper_bound(300, 2_000) < 0.17


@pytest.mark.parametrize("age", ["7", "d7", "1w", "", "-1d", "1.5h"])
def test_an_age_that_is_none_is_refused(age: str) -> None:
    with pytest.raises(InvalidInputError, match="--since"):
        parse_age(age, "--since")


def test_versions_are_of_what_is_installed() -> None:
    assert versions().prefect.startswith("3.")
    assert len(versions().code) == len(versions().schema) == 16


def test_the_hash_of_code_is_of_what_runs() -> None:
    one = b'"""About it."""\ndef f(x):\n    """Return x."""\n    return x  # as it is\n'
    assert code_of(one) == code_of(b"def f(x):\n    return (\n        x\n    )\n")
    assert code_of(one) != code_of(one.replace(b"return x ", b"return -x "))
    assert code_of(b"class A:\n    'Only said.'\n") == code_of(b"class A:\n    pass\n")


def test_an_extractor_from_elsewhere_has_a_hash_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_extractor.py").write_text("def factory():\n    return None\n", encoding="utf-8")
    before = extractor_hash("their_extractor:factory")
    extractor_hash.cache_clear()
    (tmp_path / "their_extractor.py").write_text("def factory():\n    return 1\n", encoding="utf-8")
    assert "" != before != extractor_hash("their_extractor:factory")
    assert extractor_hash("rules") == extractor_hash("tasks.extraction:RulesExtractor") == extractor_hash("nobody:here") == ""
