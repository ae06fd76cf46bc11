"""The payloads: what is refused, and how they look as JSON."""

from typing import Any

import pytest

from compat.contracts import BatchEvent, BatchParams, BatchResult, DocumentCompleted, StageProgress
from compat.errors import InvalidInputError

DOCUMENT = {"documentId": "d", "text": "t", "ontologyContent": "o"}
GOOD: dict[str, Any] = {"organizationId": "org", "ontologyId": "ont", "documents": [DOCUMENT]}


def with_(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    ("params", "field", "value"),
    [
        (with_(config={"concurrency": 0}), "config.concurrency", "0"),
        (with_(config={"concurrency": 21}), "config.concurrency", "21"),
        (with_(config={"concurrency": "three"}), "config.concurrency", "'three'"),
        (with_(config={"concurrency": True}), "config.concurrency", "True"),
        (with_(config={"maxRetries": -1}), "config.maxRetries", "-1"),
        (with_(config={"maxRetries": 1001}), "config.maxRetries", "1001"),
        (with_(config={"failurePolicy": "give-up"}), "config.failurePolicy", "'give-up'"),
        (with_(config={"failurepolicy": "abort-all"}), "config.failurepolicy", "unknown key"),
        (with_(batchId=""), "batchId", "''"),
        (with_(batchId="x" * 201), "batchId", "xxx"),
        (with_(batchId="a\nb"), "batchId", "control character"),
        (with_(documents=[{**DOCUMENT, "documentId": ""}]), "documents[0].documentId", "''"),
        (with_(documents=[DOCUMENT, DOCUMENT]), "params", "documentId 'd' stands twice"),
        (with_(documents=[{"documentId": "d", "text": "t"}]), "documents[0].ontologyContent", "is missing"),
        (with_(documents=[{**DOCUMENT, "text": "\ud800"}]), "documents[0].text", "lone surrogate"),
        (with_(documents=[{**DOCUMENT, "text": "a\x00b"}]), "documents[0].text", "NUL"),
        (with_(surprise=1), "surprise", "unknown key"),
    ],
)
def test_bad_input_names_the_field_and_the_value(params: dict[str, Any], field: str, value: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        BatchParams.parse(params)
    assert field in str(caught.value)
    assert value in str(caught.value)


def test_every_field_at_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        BatchParams.parse(with_(batchId="", config={"concurrency": 0, "maxRetries": -1}))
    assert [problem.field for problem in caught.value.problems] == ["batchId", "config.concurrency", "config.maxRetries"]


def test_defaults_are_the_contracts() -> None:
    assert BatchParams.parse(GOOD).config.model_dump(mode="json") == {
        "concurrency": 3, "failurePolicy": "continue-on-failure", "maxRetries": 2, "enableEntityResolution": True,
    }  # fmt: skip


def test_ids_of_callers_may_be_any_text() -> None:
    params = BatchParams.parse(with_(batchId="партия 7/😀", organizationId="\u200fארגון"))
    assert params.batch_id == "партия 7/😀"


def test_attributes_names_are_accepted_and_json_is_camel_case() -> None:
    params = BatchParams.parse({"organization_id": "org", "ontology_id": "ont", "documents": []})
    assert set(params.model_dump(mode="json")) == {"batchId", "organizationId", "ontologyId", "documents", "config"}


def test_events_bear_their_tag_and_come_back_by_it() -> None:
    event = DocumentCompleted(batch_id="b", document_id="d", entity_count=1, relation_count=2)
    stored = event.model_dump(mode="json")
    assert stored["_tag"] == "BatchEvent.DocumentCompleted"
    assert BatchEvent.parse(stored) == event


def test_stage_progress_belongs_to_the_union_though_nobody_emits_it() -> None:
    event = StageProgress(batch_id="b", document_id="d", stage="mentions", progress=0.5)
    assert isinstance(BatchEvent.parse(event.model_dump(mode="json")), StageProgress)


def test_an_event_of_an_unknown_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="Surprise"):
        BatchEvent.parse({"_tag": "BatchEvent.Surprise", "batchId": "b"})


def test_a_result_validates_from_its_own_json() -> None:
    text = (
        '{"batchId":"b","documentResults":[{"documentId":"d","result":{"ok":false,"error":"X: y"}}],'
        '"totalDocuments":1,"successCount":0,"failureCount":1,"entityCount":0,"relationCount":0}'
    )
    assert BatchResult.model_validate_json(text).model_dump_json() == text
