"""The graph of 500 encyclopedia articles: every quote stands where its evidence says, in the export as in the store."""

import json
from pathlib import Path

import pyoxigraph
import pytest

import flows
from compat.store import Store, graphs
from flows.graph.export import Options, write
from flows.graph.merged import MergedGraph

pytestmark = pytest.mark.slow

EVIDENCE = """
PREFIX oa: <http://www.w3.org/ns/oa#>
SELECT ?document ?start ?end ?quote WHERE {
  GRAPH <urn:beep:evidence> {
    ?target oa:hasSource ?document ; oa:hasSelector ?place, ?words .
    ?place oa:start ?start ; oa:end ?end . ?words oa:exact ?quote .
  }
}
"""


def test_every_statement_of_re_docred_has_its_quote_where_it_says(
    environment: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    folder = data / "redocred"
    lines = (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {each["documentId"]: each["text"] for each in map(json.loads, lines)}
    ontology = (folder / "ontology.ttl").read_text(encoding="utf-8")
    documents = [{"documentId": id, "text": text, "ontologyContent": ontology} for id, text in texts.items()]
    request = {"batchId": "articles", "organizationId": "o", "ontologyId": "o", "documents": documents}
    result = flows.run_batch(request, mode="legacy")
    assert result.failure_count == 0

    graph = MergedGraph(Store.from_settings(), ["articles"])
    assert graphs.count(graph.store.database, "articles") == {"articles": graph.count("node")}
    assert graph.count("node") < graph.own_entities() == result.entity_count
    assert graph.count("statement") == result.relation_count > 1_000
    stated = 0
    for table in ("statement", "mention"):
        query = f"SELECT document_id, start, end, quote FROM {table} JOIN document USING (d)"
        for document_id, start, end, quote in graph.rows(query):
            assert texts[document_id][start:end] == quote
            stated += 1
    assert stated == graph.count("statement") + graph.count("mention")

    export = pyoxigraph.Store()
    export.bulk_load(path=write(graph, tmp_path / "articles.nq", Options()).files[0])
    by_iri = {f"urn:beep:document:{id}": text for id, text in texts.items()}
    found = 0
    for document, start, end, quote in export.query(EVIDENCE):  # type: ignore[union-attr,misc]
        assert by_iri[document.value][int(start.value) : int(end.value)] == quote.value
        found += 1
    assert found >= graph.count("edge") + graph.count("node")
