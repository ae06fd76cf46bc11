"""The recorded runs against CONTRACT.md, worked out here once more from the contract's words alone."""

import json
from pathlib import Path
from typing import Any

import pytest

import faults

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    (script, policy, resolution)
    for script in faults.SCRIPTS
    for policy in ("continue-on-failure", "abort-all", "retry-failed")
    for resolution in ("on", "off")
]


def expected(script: str, policy: str) -> list[tuple[str, int, bool]]:
    """(document, attempts, succeeds) of every document that is attempted, by CONTRACT 4."""
    budget = 1 + 2 if policy == "retry-failed" else 1 + 3
    found = []
    for document in faults.SCRIPTS[script]:
        told = json.loads(document["text"])
        if told["fail"] and told["how"] in ("ontology", "broken"):
            attempts, succeeds = 1, False
        else:
            attempts, succeeds = min(told["fail"] + 1, budget), told["fail"] < budget
        found.append((document["documentId"], attempts, succeeds))
        if policy == "abort-all" and not succeeds:
            break
    return found


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest) -> tuple[dict[str, Any], str, str, list[tuple[str, int, bool]]]:
    script, policy, resolution = request.param
    golden = json.loads((GOLDEN / f"{script}.json").read_text(encoding="utf-8"))
    return golden[f"{policy}, resolution {resolution}"], policy, resolution, expected(script, policy)


Case = tuple[dict[str, Any], str, str, list[tuple[str, int, bool]]]


def test_every_document_got_its_budget_and_one_activity_row_an_attempt(case: Case) -> None:
    seen, _, _, documents = case
    assert seen["attempts"] == {document: attempts for document, attempts, _ in documents}
    for document, attempts, succeeds in documents:
        rows = seen["rows"]["activities"][document]
        assert [row["attempt"] for row in rows] == list(range(1, attempts + 1))
        assert [row["status"] for row in rows] == ["failed"] * (attempts - 1) + ["completed" if succeeds else "failed"]


def test_result_and_rows_count_the_documents_attempted(case: Case) -> None:
    seen, _, _, documents = case
    result = seen["result"]
    assert [item["documentId"] for item in result["documentResults"]] == [document for document, _, _ in documents]
    assert [item["result"]["ok"] for item in result["documentResults"]] == [succeeds for _, _, succeeds in documents]
    successes = sum(succeeds for _, _, succeeds in documents)
    counts = {"totalDocuments": len(documents), "successCount": successes, "failureCount": len(documents) - successes}
    assert counts.items() <= result.items()
    # Two entities and one relation a document, by the script.
    assert (result["entityCount"], result["relationCount"]) == (2 * successes, successes)
    [row] = seen["rows"]["workflow"]
    assert row["output"] == {key: value for key, value in result.items() if key != "documentResults"}


def test_the_end_is_failed_only_where_every_document_failed(case: Case) -> None:
    seen, _, _, documents = case
    failed = bool(documents) and not any(succeeds for _, _, succeeds in documents)
    last = seen["batchEvents"][-1]
    if failed:
        assert last == {"_tag": "BatchFailed", "error": "All documents failed", "failedDocuments": len(documents)}
    else:
        assert last["_tag"] == "BatchCompleted"
        assert last["totalDocuments"] == len(documents)
    assert seen["rows"]["workflow"][0]["status"] == seen["rows"]["batch"][0]["status"] == ("failed" if failed else "completed")
    assert seen["state"]["_tag"] == ("BatchState.Failed" if failed else "BatchState.Completed")


def test_events_stand_in_the_promised_order(case: Case) -> None:
    seen, policy, resolution, documents = case
    tags = [event if isinstance(event, str) else event["_tag"] for event in seen["batchEvents"]]
    middle = (["documents"] if documents else []) + (["ResolutionStarted", "ResolutionCompleted"] if resolution == "on" else [])
    assert tags[:-1] == ["BatchCreated", *middle]
    for position, (document, attempts, succeeds) in enumerate(documents):
        told = seen["documentEvents"][document]
        end = "DocumentCompleted" if succeeds else "DocumentFailed"
        if policy == "retry-failed":
            wanted = ["DocumentStarted", "DocumentFailed"] * (attempts - 1) + ["DocumentStarted", end]
        else:
            wanted = ["DocumentStarted", end]
        assert [event["_tag"] for event in told] == wanted
        assert all(event["documentIndex"] == position for event in told if event["_tag"] == "DocumentStarted")


def test_every_attempt_names_its_one_owner(case: Case) -> None:
    seen, policy, _, documents = case
    owner = "orchestrator" if policy == "retry-failed" else "activity"
    for document, attempts, _ in documents:
        [row] = seen["rows"]["documents"][document]
        assert row["input"]["retryOwner"] == owner
        assert row["input"]["retryAttempt"] == (attempts - 1 if owner == "orchestrator" else 0)
