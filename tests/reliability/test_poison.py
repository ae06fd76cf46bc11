"""What an extractor hands back or raises that nobody can keep is its document's failed attempt, and never the batch's end."""

from typing import Any

import pytest
from sqlalchemy import text

import faults
import flows
from compat.contracts import BatchResult, Completed, Failure
from compat.store import Store
from poison import POISON


def errors(result: BatchResult) -> dict[str, str]:
    return {item.document_id: item.result.error for item in result.document_results if isinstance(item.result, Failure)}


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
@pytest.mark.parametrize("policy", [pytest.param("continue-on-failure", marks=pytest.mark.slow), "retry-failed"])
def test_poison_fails_its_document_and_no_other(mode: str, policy: str, request_of: Any) -> None:
    documents = [faults.document(how, fail=faults.ALWAYS, how=how) for how in POISON]
    documents += [faults.document(f"{how} at first", fail=1, how=how) for how in POISON]
    request = request_of([*documents, faults.document("healthy")], "poisoned", failurePolicy=policy, maxRetries=1, concurrency=8)
    result = flows.run_batch(request, mode)
    assert Store.from_settings().summaries()[0].mode == mode
    found = errors(result)
    # What is said, where something else was to be said.
    assert {how: found.get(how) for how, what in POISON.items() if not says(what.kind, what.says, found.get(how, ""))} == {}
    assert set(found) == set(POISON)
    attempts = 2 if policy == "retry-failed" else 4
    counted = dict.fromkeys(POISON, attempts) | {f"{how} at first": 2 for how in POISON} | {"healthy": 1}
    assert faults.knocks() == counted
    recorded = {each.document_id: each for each in Store.from_settings().attempts("poisoned")}
    assert {each.document_id: each.counted for each in recorded.values()} == counted
    assert {each.document_id: len(each.attempts) for each in recorded.values()} == counted
    assert {attempt.status for each in recorded.values() for attempt in each.attempts} == {"failed", "completed"}
    assert isinstance(flows.get_status("poisoned"), Completed)
    # What is stored can be read again, by whoever asks.
    assert set(Store.from_settings().failures("poisoned")) == set(POISON)


def says(kind: str, part: str, error: str) -> bool:
    return error.split(":", maxsplit=1)[0] == kind and part in error


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
@pytest.mark.parametrize(
    "how", ["keyboard-interrupt", *(pytest.param(how, marks=pytest.mark.slow) for how in ("system-exit", "cancelled"))]
)
def test_under_abort_all_poison_ends_the_loop_as_any_failure_does(mode: str, how: str, request_of: Any) -> None:
    documents = [faults.document("a"), faults.document("b", fail=faults.ALWAYS, how=how), faults.document("c")]
    result = flows.run_batch(request_of(documents, "aborted", failurePolicy="abort-all"), mode)
    assert [item.result.ok for item in result.document_results] == [True, False]
    assert faults.knocks() == {"a": 1, "b": 4}
    assert isinstance(flows.get_status("aborted"), Completed)
    assert Store.from_settings().summaries()[0].mode == mode


REFUSALS = {
    "sqlite": "CREATE TRIGGER refuses BEFORE INSERT ON knowledge_mention_record WHEN NEW.raw_text = 'refused' "
    "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    "postgresql": "ALTER TABLE knowledge_mention_record ADD CONSTRAINT not_this_one CHECK (raw_text <> 'refused')",
}


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_what_the_database_refuses_at_an_outcome_is_a_failed_attempt_of_that_document(mode: str, request_of: Any) -> None:
    store = Store.from_settings()
    with store.database.write() as connection:
        connection.execute(text(REFUSALS[store.database.dialect]))
    documents = [faults.document("a", names=("refused",)), faults.document("b")]
    result = flows.run_batch(request_of(documents, "refused", failurePolicy="retry-failed", maxRetries=1), mode)
    assert list(errors(result)) == ["a"]
    said = errors(result)["a"]
    assert said.startswith("ExtractorOutputError: ")
    assert "the database can't keep it: IntegrityError: " in said
    assert "INSERT" not in said
    assert "\n" not in said
    assert faults.knocks() == {"a": 2, "b": 1}
    assert isinstance(flows.get_status("refused"), Completed)
