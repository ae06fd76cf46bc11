"""Documents at the edges of what text can be, through both runtimes with the real extractor."""

from typing import Any

import pytest

import flows
from compat.contracts import Completed
from flows.sources import readers as sources

ODD = {
    "empty": "",
    "blank": " \n\t ",
    "emoji": "👩‍🚀 Mira Solberg 🚀 works at the Kestrel Observatory 🔭.",
    "right to left": "פרופסור דנה לוי נולדה בירושלים. \u200fالدكتورة ليلى تعمل في القاهرة.",
    "combining": "Zoe\u0308 Mu\u0308ller e\u0301tudie a\u0300 Gene\u0300ve.",
    "chinese": "王小明出生在北京。他在上海工作。",
    "one long word": "x" * 100_000,
}
LARGE = {"one megabyte": "Mira Solberg directs the Kestrel Observatory in Tromsø. " * 18_000}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
@pytest.mark.parametrize("texts", [pytest.param(ODD, id="odd"), pytest.param(LARGE, id="large", marks=pytest.mark.slow)])
def test_odd_documents_pass(mode: str, texts: dict[str, str], environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    ontology = sources.load("sample").ontology_content
    documents = [{"documentId": name, "text": text, "ontologyContent": ontology} for name, text in texts.items()]
    result = flows.run_batch(request_of(documents), mode)
    assert [(item.document_id, item.result.ok) for item in result.document_results] == [(name, True) for name in texts]
    for item in result.document_results:
        for entity in item.result.extraction.graph.entities:
            for mention in entity.mentions:
                assert texts[item.document_id][mention.start_char : mention.end_char] == mention.text


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_an_empty_batch_completes_with_zeros(mode: str, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    result = flows.run_batch(request_of([], batch_id="empty"), mode)
    assert result.model_dump(mode="json") == {
        "batchId": "empty", "documentResults": [], "totalDocuments": 0,
        "successCount": 0, "failureCount": 0, "entityCount": 0, "relationCount": 0,
    }  # fmt: skip
    assert flows.get_status("empty") == Completed(batch_id="empty", total_documents=0, entity_count=0, relation_count=0)
