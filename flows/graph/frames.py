"""The merged graph in Python: pandas frames, an rdflib dataset, a networkx graph, or a file."""

import io
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat.errors import InvalidInputError, Problem
from compat.store import Store, graphs
from flows.graph import export, rdf, tables, tools
from flows.graph.merged import MergedGraph

if TYPE_CHECKING:
    import networkx
    import pandas as pd
    import rdflib


def graph_of(*batch_ids: str) -> "KnowledgeGraphView":
    """Return the merged graph of a batch, or of several that are merged in this order.

    Raises BatchNotFoundError; InvalidInputError where no batch is named.
    """
    for each in batch_ids:
        if not isinstance(each, str):
            raise InvalidInputError([Problem("batch_ids", each, "is not a text; give ids one by one, as texts")])
    return KnowledgeGraphView(MergedGraph(Store.from_settings(), batch_ids))


class KnowledgeGraphView:
    """A merged graph as it was when it was asked for. Each thing is there once, whatever number of documents name it."""

    def __init__(self, graph: MergedGraph) -> None:
        self._graph = graph

    def entities(self) -> "pd.DataFrame":
        """Return a row per entity: ``id``, ``name``, ``type`` and its label, all ``types``, in how many documents, and so on."""
        return _frame(tables.nodes(self._graph), tables.NODES)

    def relations(self) -> "pd.DataFrame":
        """Return a row per triple, to an entity or a literal (no ``objectId``), with the quote of its most certain statement."""
        return _frame(tables.edges(self._graph), tables.EDGES)

    def rdf(self) -> "rdflib.Dataset":
        """Return the merged graph as default graph; documents' own graphs, evidence and provenance as named ones."""
        import rdflib

        from tasks.extraction.syntaxes import quiet_terms

        text = io.StringIO()
        rdf.write_lines(self._graph, text, evidence=True, named=True)
        dataset = rdflib.Dataset()
        with quiet_terms():
            dataset.parse(data=text.getvalue(), format="nquads")
        for prefix, iri in self._graph.prefixes.items():
            dataset.bind(prefix, iri)
        return dataset

    def networkx(self) -> "networkx.MultiDiGraph":
        """Entities by their ids; edges from entity to entity, those between the same two told apart by their predicate."""
        import networkx

        graph = networkx.MultiDiGraph()
        for node in self._graph.nodes():
            data = tools.node_data(self._graph, node)
            graph.add_node(data.pop("id"), **data)
        for edge in self._graph.edges("WHERE edge.object IS NOT NULL ORDER BY e"):
            data = tools.edge_data(self._graph, edge)
            graph.add_edge(data.pop("source"), data.pop("target"), **data)
        return graph

    def save(self, path: str | Path, *, evidence: bool = False, tables: bool = False, raw: bool = False) -> export.Written:
        """Write a file in the format of its ending, as ``knowledge-batch export`` does with these options."""
        return export.write(self._graph, Path(path), export.Options(evidence, tables, raw))

    def __repr__(self) -> str:
        return f"<knowledge graph of {', '.join(self._graph.batch_ids)}: {self._summary}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(node.name)}</td><td>{escape(self._graph.label(node.types[0]) if node.types else '')}</td>"
            f"<td>{node.degree}</td><td>{node.documents}</td></tr>"
            for node in self._graph.nodes("ORDER BY degree DESC, documents DESC, n LIMIT 10")
        )
        head = "<tr><th>most connected</th><th>class</th><th>relations</th><th>documents</th></tr>"
        return f"<div><b>{escape(', '.join(self._graph.batch_ids))}</b>: {escape(self._summary)}<table>{head}{rows}</table></div>"

    @property
    def _summary(self) -> str:
        graph = self._graph
        merged = graph.count("node") if graph.is_merged else None
        entities = graphs.counted(graph.own_entities(), merged)
        return f"entities {entities}, {graph.count('edge')} relations, {graph.count('document')} documents"


def _frame(rows: Iterator[tuple[Any, ...]], columns: tuple[tables.Column, ...]) -> "pd.DataFrame":
    import pandas as pd

    kinds = {str: "string", float: "float64", int: "Int64"}
    frame = pd.DataFrame(list(rows), columns=[name for name, _ in columns])
    return frame.astype({name: kinds[kind] for name, kind in columns})
