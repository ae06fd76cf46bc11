"""The merged graph: one of each thing, however it is asked for."""

import subprocess
import sys
from typing import Any

import networkx
import pytest
from sqlalchemy import select

import faults
import flows
from compat.contracts import BatchResult, CanonicalEntity
from compat.errors import BatchNotFoundError, InvalidInputError
from compat.store import Store, graphs
from compat.store.schema import CanonicalMember, MentionRecord
from flows.graph.merged import MergedGraph, local_name


def shape(graph: MergedGraph) -> tuple[Any, ...]:
    """All of a graph that can be compared."""
    edges = [(edge.subject_name, edge.predicate, edge.object_name, edge.documents, edge.confidence) for edge in graph.edges()]
    nodes = [(node.id, node.name, node.types, node.attributes, node.documents, node.degree) for node in graph.nodes()]
    return nodes, edges


def test_the_sample_is_41_things_in_two_islands(graph: MergedGraph) -> None:
    assert (graph.count("node"), graph.own_entities(), graph.count("statement")) == (41, 122, 114)
    islands = networkx.Graph()
    islands.add_nodes_from(node.number for node in graph.nodes())
    islands.add_edges_from((edge.subject, edge.object) for edge in graph.edges() if edge.object is not None)
    assert networkx.number_connected_components(islands) == 2


def test_what_is_stored_is_what_is_computed(store: Store, graph: MergedGraph) -> None:
    computed = MergedGraph(store, ["sample"])
    stored = list(graphs.entities(store.database, "sample"))
    assert [node.id for node in graph.nodes()] == [entity.id for entity in stored]
    with pytest.MonkeyPatch.context() as patch:
        # As it is where a resolution failed, or is older than these rows.
        patch.setattr(graphs, "count", lambda *_: {})
        computed = MergedGraph(store, ["sample"])
    assert shape(computed) == shape(graph)


def test_every_entity_and_mention_leads_to_its_canonical_entity(store: Store) -> None:
    known = {entity.id for entity in graphs.entities(store.database, "sample")}
    with store.database.read() as connection:
        members = (
            connection.execute(select(CanonicalMember.canonical_id).where(CanonicalMember.batch_id == "sample")).scalars().all()
        )
        mentions = connection.execute(select(MentionRecord.resolved_entity_id)).scalars().all()
    assert len(members) == 122
    assert set(members) == known
    assert known <= set(mentions)


def test_batches_are_merged_as_if_they_were_one(store: Store, graph: MergedGraph) -> None:
    both = MergedGraph(store, ["first", "second"])
    assert shape(both) == shape(graph)
    alone = {node.id for each in ("first", "second") for node in MergedGraph(store, [each]).nodes()}
    assert {node.id for node in graph.nodes()} == alone


def test_a_batch_twice_is_that_batch(store: Store, graph: MergedGraph) -> None:
    assert shape(MergedGraph(store, ["sample", "sample"])) == shape(graph)


def test_without_resolution_entities_are_the_documents_own(store: Store) -> None:
    for own in (MergedGraph(store, ["own"]), MergedGraph(store, ["sample"], merge=False)):
        assert (own.count("node"), own.count("edge"), own.is_merged) == (122, 114, False)


def test_own_entities_of_one_id_in_two_documents_are_two(store: Store) -> None:
    assert MergedGraph(store, ["hostile"], merge=False).count("node") == 2 * MergedGraph(store, ["hostile"]).count("node")


def test_a_batch_without_resolution_keeps_its_entities_beside_one_that_is_merged(store: Store) -> None:
    mixed = MergedGraph(store, ["sample", "own"])
    assert (mixed.count("node"), mixed.is_merged) == (41 + 122, False)


def test_quotes_stand_where_their_offsets_say(store: Store, graph: MergedGraph) -> None:
    checked = 0
    for edge in graph.edges():
        for found in graph.evidence(edge):
            text = graphs.texts(store.database, found.batch_id, [found.document_id])[found.document_id]
            assert text[found.start : found.end] == found.quote
            checked += 1
    for node in graph.nodes():
        for found in graph.mentions(node):
            text = graphs.texts(store.database, found.batch_id, [found.document_id])[found.document_id]
            assert text[found.start : found.end] == found.quote
    assert checked == 114


def test_labels_are_the_ontologys_or_words_of_the_iri(graph: MergedGraph) -> None:
    assert graph.label("https://example.org/marrow-sound#birthPlace") == "place of birth"
    assert graph.label("https://example.org/other#favouriteHTTPPort") == "favourite HTTP port"
    assert local_name("http://www.wikidata.org/entity/Q5") == "Q 5"
    assert local_name("urn:x:") == "x"


def test_the_ontologys_prefixes_are_known(graph: MergedGraph) -> None:
    assert graph.prefixes[""] == "https://example.org/marrow-sound#"


def test_an_unknown_batch_and_none_are_said(store: Store) -> None:
    with pytest.raises(BatchNotFoundError):
        MergedGraph(store, ["nobody"])
    with pytest.raises(InvalidInputError, match="at least one batch"):
        MergedGraph(store, [])


@pytest.mark.usefixtures("environment")
def test_a_resume_replaces_what_an_earlier_resolution_came_to(request_of: Any) -> None:
    assert flows.run_batch(request_of([faults.document("a", fail=4)], "again"), mode="legacy").failure_count == 1
    store = Store.from_settings()
    assert MergedGraph(store, ["again"]).count("node") == 0
    with store.database.write() as connection:
        graphs.keep_members(connection, "again", [("a", "gone", "gone")])
        graphs.keep(connection, "again", [CanonicalEntity(id="gone", name="Gone")])
    flows.resume_batch("again")
    assert [entity.name for entity in graphs.entities(store.database, "again")] == ["a", "Shared Name"]
    assert len(graphs.members(store.database, "again", ["a"])) == 2
    assert shape(MergedGraph(store, ["again"])) == shape(MergedGraph(store, ["again", "again"]))


def test_a_result_and_a_graph_fit_on_a_screen(store: Store) -> None:
    result = store.result("sample")
    assert repr(result) == (
        "BatchResult(batch_id='sample', total_documents=25, success_count=25, failure_count=0, entity_count=122, "
        "relation_count=114)"
    )
    assert BatchResult.model_validate_json(result.model_dump_json()) == result


def test_importing_flows_imports_no_pandas_and_no_graph_library() -> None:
    heavy = "('pandas', 'pyarrow', 'prefect', 'networkx', 'rustworkx', 'jinja2')"
    code = f"import sys, flows, flows.graph.export; sys.exit(str([each for each in {heavy} if each in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


# --- In Python --------------------------------------------------------------------------------------------------------


def test_graph_of_gives_frames_rdf_networkx_and_files(store: Store, tmp_path: Any) -> None:
    view = flows.graph_of("sample")
    entities, relations = view.entities(), view.relations()
    assert len(entities) == 41
    assert len(relations) == 92
    assert relations["objectId"].dropna().isin(entities["id"]).all()
    assert entities.loc[entities["name"] == "Port Aldery", "documents"].item() == 9
    network = view.networkx()
    assert (len(network), network.number_of_edges()) == (41, relations["objectId"].notna().sum())
    assert len(view.rdf().default_graph) == 210
    assert view.save(tmp_path / "graph.TTL").count == 210
    assert repr(view) == "<knowledge graph of sample: entities 41 (122 in documents), 92 relations, 25 documents>"
    assert "Port Aldery" in view._repr_html_()


def test_a_view_shows_hostile_names_as_text(store: Store) -> None:
    assert "<script>" not in flows.graph_of("hostile")._repr_html_()
