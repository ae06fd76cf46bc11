"""Every export is read back by another tool, and says the same as the graph."""

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import hostile as odd
import networkx
import pages
import pandas as pd
import pyoxigraph
import pytest
import rdflib

from compat.errors import InvalidInputError
from compat.store import Store
from flows.graph import export as exporting
from flows.graph.export import Options, write
from flows.graph.merged import MergedGraph

RDF = {
    ".ttl": ("turtle", pyoxigraph.RdfFormat.TURTLE),
    ".nt": ("nt", pyoxigraph.RdfFormat.N_TRIPLES),
    ".rdf": ("xml", pyoxigraph.RdfFormat.RDF_XML),
    ".trig": ("trig", pyoxigraph.RdfFormat.TRIG),
    ".nq": ("nquads", pyoxigraph.RdfFormat.N_QUADS),
    ".jsonld": ("json-ld", pyoxigraph.RdfFormat.JSON_LD),
}
NAMED = (".trig", ".nq", ".jsonld")
MARROW = "https://example.org/marrow-sound#"
EVIDENCE, PROVENANCE = (rdflib.URIRef(f"urn:beep:{name}") for name in ("evidence", "provenance"))
# Nodes, edges between them, and triples of the sample's merged graph: types, labels of things, edges and literals, and the
# labels of the classes and properties in use.
NODES, EDGES, TRIPLES = 41, 68, 210


def written(graph: MergedGraph, folder: Path, ending: str, **options: bool) -> Path:
    return write(graph, folder / f"graph{ending}", Options(**options)).files[0]


def oxigraph(file: Path, ending: str) -> pyoxigraph.Store:
    store = pyoxigraph.Store()
    store.load(file.read_bytes(), RDF[ending][1])
    return store


def dataset(file: Path, ending: str) -> rdflib.Dataset:
    found = rdflib.Dataset()
    found.parse(file, format=RDF[ending][0])
    return found


def plain(text: str) -> str:
    """Moments and numbers, which each tool spells in a way of its own."""
    return re.sub(r"^(\d+)\.0$", r"\1", re.sub(r"0*(?:Z|\+00:00)$", "Z", text))


# --- RDF --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [False, True], ids=["", "evidence"])
@pytest.mark.parametrize("ending", RDF)
def test_rdflib_and_oxigraph_read_the_same_triples(graph: MergedGraph, tmp_path: Path, ending: str, evidence: bool) -> None:
    said = write(graph, tmp_path / f"graph{ending}", Options(evidence=evidence))
    triples = {(str(s), str(p), plain(str(o))) for s, p, o, _ in dataset(said.files[0], ending).quads()}
    other = oxigraph(said.files[0], ending)
    assert len(list(dataset(said.files[0], ending).quads())) == len(other) == said.count
    assert triples == {(q.subject.value, q.predicate.value, plain(q.object.value)) for q in other}  # type: ignore[union-attr]
    assert said.count == TRIPLES if ending not in NAMED and not evidence else said.count > TRIPLES


@pytest.mark.parametrize("ending", NAMED)
def test_the_default_graph_is_the_merged_one(graph: MergedGraph, tmp_path: Path, ending: str) -> None:
    found = dataset(written(graph, tmp_path, ending), ending)
    names = Counter(str(each.identifier).partition(":extraction:")[0] for each in found.graphs())
    assert len(found.default_graph) == TRIPLES
    assert names["urn:beep"] == 25
    assert len(found.graph(EVIDENCE)) > 0 < len(found.graph(PROVENANCE))
    # Without blank nodes two exports can be compared, and loaded twice.
    assert not any(isinstance(term, rdflib.BNode) for quad in found.quads() for term in quad[:3])


def test_one_thing_has_one_iri_its_labels_and_the_ontologys_prefixes(graph: MergedGraph, tmp_path: Path) -> None:
    file = written(graph, tmp_path, ".ttl")
    found = rdflib.Graph().parse(file)
    assert "@prefix : <https://example.org/marrow-sound#> ." in file.read_text(encoding="utf-8")
    [light] = found.subjects(rdflib.RDFS.label, rdflib.Literal("Gannet Light"))
    assert set(found.objects(light, rdflib.RDF.type)) == {rdflib.URIRef(f"{MARROW}Lighthouse")}
    assert found.value(rdflib.URIRef(f"{MARROW}builtBy"), rdflib.RDFS.label) == rdflib.Literal("built by")
    assert found.value(light, rdflib.URIRef(f"{MARROW}completed")) == rdflib.Literal("1878", datatype=rdflib.XSD.gYear)


@pytest.mark.parametrize("ending", [".ttl", ".rdf", ".trig"])
def test_every_triple_between_things_has_evidence(graph: MergedGraph, tmp_path: Path, ending: str) -> None:
    found = dataset(written(graph, tmp_path, ending, evidence=True), ending)
    everything = rdflib.Graph()
    for quad in found.quads():
        everything.add(quad[:3])
    oa = rdflib.Namespace("http://www.w3.org/ns/oa#")
    proven = set()
    for each in everything.subjects(rdflib.RDF.type, oa.Annotation):
        parts = [everything.value(each, part) for part in (rdflib.RDF.subject, rdflib.RDF.predicate, rdflib.RDF.object)]
        proven.add(tuple(parts))
        target = everything.value(each, oa.hasTarget)
        assert everything.value(target, oa.hasSource) == everything.value(each, rdflib.PROV.wasDerivedFrom)
        selectors = {everything.value(one, rdflib.RDF.type): one for one in everything.objects(target, oa.hasSelector)}
        start, end = (everything.value(selectors[oa.TextPositionSelector], each).toPython() for each in (oa.start, oa.end))  # type: ignore[union-attr]
        assert len(str(everything.value(selectors[oa.TextQuoteSelector], oa.exact))) == end - start
    merged = dataset(written(graph, tmp_path, ".nq"), ".nq").default_graph
    stated = {triple for triple in merged if triple[1] != rdflib.RDF.type and str(triple[0]).startswith("urn:beep:")}
    assert proven == stated


def test_own_entities_are_specializations_and_never_the_same(graph: MergedGraph, store: Store, tmp_path: Path) -> None:
    found = dataset(written(graph, tmp_path, ".trig"), ".trig").graph(PROVENANCE)
    assert len(set(found.subjects(rdflib.PROV.specializationOf))) == 122
    assert len(set(found.objects(None, rdflib.PROV.specializationOf))) == NODES
    assert len(set(found.objects(None, rdflib.URIRef("https://schema.org/sha256")))) == 25
    assert "sameAs" not in (tmp_path / "graph.trig").read_text(encoding="utf-8")
    unmerged = dataset(written(MergedGraph(store, ["own"]), tmp_path, ".nq"), ".nq").graph(PROVENANCE)
    assert not list(unmerged.subjects(rdflib.PROV.specializationOf))


@pytest.mark.parametrize("ending", sorted({*exporting.FORMATS}))
def test_a_repeated_export_is_the_same_bytes(graph: MergedGraph, store: Store, tmp_path: Path, ending: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    first = write(graph, tmp_path / "one" / f"g{ending}", Options())
    second = write(MergedGraph(store, ["sample"]), tmp_path / "two" / f"g{ending}", Options())
    assert [file.read_bytes() for file in first.files] == [file.read_bytes() for file in second.files]


@pytest.mark.parametrize("marker", ["query: sample", "query: evidence"])
def test_the_queries_of_the_guide_have_answers(graph: MergedGraph, tmp_path: Path, marker: str) -> None:
    [query] = [block.content for page in pages.PAGES for block in pages.blocks(page) if block.marker == marker]
    file = written(graph, tmp_path, ".trig")
    rows = [[str(cell) for cell in row] for row in dataset(file, ".trig").query(query)]  # type: ignore[union-attr]
    others = [[cell.value for cell in row] for row in oxigraph(file, ".trig").query(query)]  # type: ignore[union-attr]
    assert rows == others
    assert rows
    if marker == "query: sample":
        # No document alone says enough for an answer.
        documents = {each.document_id for each in graph.documents()}
        for document_id in documents:
            alone = rdflib.Graph()
            for edge in graph.edges():
                if any(each.document_id == document_id for each in graph.evidence(edge)):
                    for iri, name in ((edge.subject_id, edge.subject_name), (edge.object_id, edge.object_name)):
                        alone.add((rdflib.URIRef(f"urn:{iri}"), rdflib.RDFS.label, rdflib.Literal(name)))
                    alone.add(
                        (
                            rdflib.URIRef(f"urn:{edge.subject_id}"),
                            rdflib.URIRef(edge.predicate),
                            rdflib.URIRef(f"urn:{edge.object_id}"),
                        )
                    )
            assert not list(alone.query(query))


# --- Tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_pandas_reads_statements(graph: MergedGraph, tmp_path: Path, ending: str) -> None:
    file = written(graph, tmp_path, ending)
    frame = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    assert len(frame) == 122 + 114
    assert frame["canonicalSubjectId"].nunique() == NODES
    assert (frame["kind"] == "relation").sum() == 114
    row = frame[(frame["documentId"] == "tomas-vey") & (frame["predicateLabel"] == "keeper")].iloc[0]
    assert (row["canonicalSubject"], row["canonicalObject"]) == ("Gannet Light", "Tomas Vey")
    assert row["evidence"] == "he was the keeper of Gannet Light"
    assert row["endChar"] - row["startChar"] == len(row["evidence"])
    assert set(frame.loc[frame["kind"] == "type", "objectLabel"]) >= {"lighthouse", "person"}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_pandas_reads_nodes_and_edges(graph: MergedGraph, tmp_path: Path, ending: str) -> None:
    said = write(graph, tmp_path / f"graph{ending}", Options(tables=True))
    assert [file.name for file in said.files] == [f"graph.nodes{ending}", f"graph.edges{ending}"]
    nodes, edges = (pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file) for file in said.files)
    between = edges[edges["objectId"].notna()]
    assert (len(nodes), len(between), said.count) == (NODES, EDGES, len(nodes) + len(edges))
    assert set(between["objectId"]) | set(edges["subjectId"]) <= set(nodes["id"])


def test_cells_that_spreadsheets_would_run_are_neutral_unless_raw(hostile: MergedGraph, tmp_path: Path) -> None:
    def cells(**options: bool) -> list[str]:
        with written(hostile, tmp_path, ".csv", **options).open(encoding="utf-8", newline="") as file:
            return [cell for row in csv.reader(file) for cell in row]

    def runs(cell: str) -> bool:
        return cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not re.fullmatch(r"-?[\d.]+", cell)

    assert not any(map(runs, cells()))
    assert any(map(runs, cells(raw=True)))
    assert {'=HYPERLINK("http://example.org")', "-12"} <= set(cells(raw=True))
    assert {'\'=HYPERLINK("http://example.org")', "-12"} <= set(cells())


# --- Graph tools ------------------------------------------------------------------------------------------------------


def test_networkx_reads_graphml(graph: MergedGraph, tmp_path: Path) -> None:
    found = networkx.read_graphml(written(graph, tmp_path, ".graphml"), force_multigraph=True)
    assert (len(found), found.number_of_edges(), found.is_directed()) == (NODES, EDGES, True)
    [light] = [data for _, data in found.nodes(data=True) if data["label"] == "Gannet Light"]
    assert (light["type"], light["documents"], light["year completed"], light["confidence"]) == ("lighthouse", 5, "1878", 0.9)
    assert {data["label"] for _, _, data in found.edges(data=True)} >= {"built by", "keeper"}


def test_networkx_reads_node_link_json(graph: MergedGraph, tmp_path: Path) -> None:
    data = json.loads(written(graph, tmp_path, ".json").read_text(encoding="utf-8"))
    found = networkx.node_link_graph(data, edges="links")
    assert (len(found), found.number_of_edges()) == (NODES, EDGES)
    assert all(data["evidence"] and data["documents"] for _, _, data in found.edges(data=True))


def test_neo4js_files_have_its_importers_headers(graph: MergedGraph, tmp_path: Path) -> None:
    said = write(graph, tmp_path / "graph.neo4j.csv", Options())
    nodes, relationships = (list(csv.DictReader(file.open(encoding="utf-8"))) for file in said.files)
    assert (len(nodes), len(relationships)) == (NODES, EDGES)
    for rows, needed in (
        (nodes, {"id:ID(Entity)", ":LABEL"}),
        (relationships, {":START_ID(Entity)", ":END_ID(Entity)", ":TYPE"}),
    ):
        assert needed <= set(rows[0])
        assert all(
            re.fullmatch(r"\w*(:(ID|LABEL|START_ID|END_ID|TYPE|string|double|string\[\])(\(Entity\))?)?", name)
            for name in rows[0]
        )
    ids = {row["id:ID(Entity)"] for row in nodes}
    assert len(ids) == NODES
    assert {row[end] for row in relationships for end in (":START_ID(Entity)", ":END_ID(Entity)")} <= ids
    [light] = [row for row in nodes if row["name"] == "Gannet Light"]
    assert (light[":LABEL"], light["yearCompleted:string[]"]) == ("Entity;Lighthouse", "1878")
    assert {row[":TYPE"] for row in relationships} >= {"BUILT_BY", "KEEPER"}


STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*"'
VALUE = rf"(?:{STRING}|-?[\d.e-]+|\[(?:{STRING}(?:, {STRING})*)?\]|null|true|false)"
CYPHER = re.compile(
    rf"CREATE CONSTRAINT [^;\"]*;"
    rf"|MERGE \(n:Entity \{{id: {STRING}\}}\) SET (?:n(?::`[^`]+`)+, )?n\.`[^`]+` = {VALUE}(?:, n\.`[^`]+` = {VALUE})*;"
    rf"|MATCH \(a:Entity \{{id: {STRING}\}}\), \(b:Entity \{{id: {STRING}\}}\) MERGE \(a\)-\[r:`[^`]+`\]->\(b\)"
    rf" SET r\.\w+ = {VALUE}(?:, r\.\w+ = {VALUE})*;"
)


@pytest.mark.parametrize("which", ["graph", "hostile"])
def test_cypher_is_a_statement_a_line(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    graph = request.getfixturevalue(which)
    lines = written(graph, tmp_path, ".cypher").read_text(encoding="utf-8").split("\n")[:-1]
    assert all(CYPHER.fullmatch(line) for line in lines)
    edges = graph.rows("SELECT count(*) FROM edge WHERE object IS NOT NULL")
    assert len(lines) == 1 + graph.count("node") + next(edges)[0]


# --- Hostile names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", RDF)
def test_hostile_names_come_back_from_rdf_as_they_are(hostile: MergedGraph, tmp_path: Path, ending: str) -> None:
    found = dataset(written(hostile, tmp_path, ending), ending)
    other = oxigraph(tmp_path / f"graph{ending}", ending)
    labels = {str(value) for _, _, value, _ in found.quads((None, rdflib.RDFS.label, None, None))}
    names = {re.sub("[\x07\x1b]", "\ufffd", name) if ending == ".rdf" else name for name in odd.NAMES}
    assert names <= labels
    assert len(list(found.quads())) == len(other)


@pytest.mark.parametrize("ending", [".graphml", ".rdf"])
def test_hostile_names_make_no_broken_xml(hostile: MergedGraph, tmp_path: Path, ending: str) -> None:
    file = written(hostile, tmp_path, ending)
    assert ElementTree.parse(file) is not None  # noqa: S314 - our own file
    if ending == ".graphml":
        found = networkx.read_graphml(file, force_multigraph=True)
        assert len(found) == hostile.count("node")


def test_hostile_names_come_back_from_tables_and_json(hostile: MergedGraph, tmp_path: Path) -> None:
    for file, read in ((".parquet", pd.read_parquet), (".csv", pd.read_csv)):
        frame = read(written(hostile, tmp_path, file, raw=True))  # type: ignore[operator]
        assert set(odd.NAMES) <= set(frame["canonicalSubject"])
    data = json.loads(written(hostile, tmp_path, ".json").read_text(encoding="utf-8"))
    assert {node["label"] for node in data["nodes"]} == set(odd.NAMES)
    said = write(hostile, tmp_path / "h.neo4j.csv", Options())
    for path in said.files:
        # A line a row: the importer wants no line ends in fields.
        assert len(path.read_text(encoding="utf-8").split("\n")) - 1 == len(list(csv.reader(path.open(encoding="utf-8"))))


# --- Files ------------------------------------------------------------------------------------------------------------


def test_an_ending_counts_in_any_case_and_an_unknown_one_names_the_known(graph: MergedGraph, tmp_path: Path) -> None:
    assert write(graph, tmp_path / "GRAPH.TTL", Options()).count == TRIPLES
    with pytest.raises(InvalidInputError, match=r"use an ending of \.ttl \(Turtle\), .*\.neo4j\.csv \(Neo4j import\)"):
        exporting.check(tmp_path / "graph.xlsx")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        exporting.check(tmp_path / "missing" / "graph.ttl")


def test_a_property_that_rdf_xml_cannot_name_is_an_error_and_leaves_no_file(graph: MergedGraph, tmp_path: Path) -> None:
    [edge] = graph.edges("ORDER BY e LIMIT 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "edges", lambda *_: iter([replace(edge, predicate="urn:x:1")]))
        with pytest.raises(InvalidInputError, match=r"can't name the property urn:x:1; export to \.ttl"):
            write(graph, tmp_path / "graph.rdf", Options())
    assert not list(tmp_path.iterdir())
