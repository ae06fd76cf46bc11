"""A merged graph as RDF, streamed: Turtle, TriG, N-Triples, N-Quads, JSON-LD and RDF/XML.

The default graph has each thing once, with the ontology's labels. Where a format names graphs, beside it are the documents'
own graphs (CONTRACT 9.7), their provenance, and the evidence: for each triple, document and span a node that is both
``rdf:Statement`` and ``oa:Annotation``. There are no blank nodes, and a repeated export is the same bytes.
"""

import json
import re
from typing import TextIO
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from rdflib import PROV, RDF, RDFS, XSD

from compat.errors import InvalidInputError, Problem
from flows.graph.merged import MergedGraph
from flows.graph.statements import BEEP, OA, Literal, blocks_of, terms_of


def write_turtle(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """Turtle, or TriG where graphs are ``named``. Returns the number of triples."""
    names = _Names(graph, evidence or named)
    written = 0
    for prefix, iri in names.prefixes.items():
        file.write(f"@prefix {prefix}: <{_iri(iri)}> .\n")
    current: str | None = None
    for name, subject, statements in blocks_of(graph, evidence, named):
        name = name if named else None
        if name != current:
            file.write(("}\n" if current else "") + (f"\n{names.turtle(name)} {{\n" if name else ""))
            current = name
        file.write(f"\n{names.turtle(subject)}")
        before = None
        for predicate, value in statements:
            shown = "a" if predicate == str(RDF.type) else names.turtle(predicate)
            separator = ", " if predicate == before else (" ;\n    " if before else " ") + shown + " "
            file.write(separator + (names.turtle(value) if isinstance(value, str) else names.literal(value)))
            before = predicate
            written += 1
        file.write(" .\n")
    file.write("}\n" if current else "")
    return written


def write_lines(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """N-Triples, or N-Quads where graphs are ``named``. Returns the number of triples."""
    written = 0
    for name, subject, statements in blocks_of(graph, evidence, named):
        ending = f" <{_iri(name)}> .\n" if name and named else " .\n"
        for predicate, value in statements:
            shown = f"<{_iri(value)}>" if isinstance(value, str) else _literal(value)
            file.write(f"<{_iri(subject)}> <{_iri(predicate)}> {shown}{ending}")
            written += 1
    return written


def write_json_ld(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """JSON-LD with a context, a node a line. Returns the number of triples."""
    names = _Names(graph, evidence or named)
    context = {prefix: iri if iri[-1:] in ":/?#[]@" else {"@id": iri, "@prefix": True} for prefix, iri in names.json_ld.items()}
    file.write('{"@context": ' + json.dumps(context, ensure_ascii=False, indent=1) + ',\n"@graph": [')
    written, before = 0, ""
    current: str | None = None
    for name, subject, statements in blocks_of(graph, evidence, named):
        if name != current:
            file.write(("\n]}" if current else "") + ",\n" + json.dumps({"@id": name, "@graph": []})[:-2])
            current, before = name, ""
        node: dict[str, object] = {"@id": names.compact(subject)}
        for predicate, value in statements:
            if predicate == str(RDF.type) and isinstance(value, str):
                node.setdefault("@type", []).append(names.compact(value))  # type: ignore[attr-defined]
                continue
            node.setdefault(names.compact(predicate), []).append(names.json_value(value))  # type: ignore[attr-defined]
        file.write(before + "\n" + json.dumps(node, ensure_ascii=False))
        before = ","
        written += len(statements)
    file.write(("\n]}" if current else "") + "\n]}\n")
    return written


def write_rdf_xml(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """RDF/XML; what XML can't hold is replaced by U+FFFD. Raises InvalidInputError where a property has no name in it."""
    names = _Names(graph, evidence)
    # An empty prefix would be the default namespace, which is as good.
    declared = {prefix: iri for prefix, iri in names.prefixes.items() if prefix not in ("", "p", "rdf", "xml")}
    known = {str(RDF): "rdf"} | {iri: prefix for prefix, iri in declared.items()}
    spaces = "".join(f"\n    xmlns:{prefix}={_attribute(iri)}" for prefix, iri in declared.items())
    file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<rdf:RDF xmlns:rdf={_attribute(str(RDF))}{spaces}>\n')
    written = 0
    for _, subject, statements in blocks_of(graph, evidence, named=False):
        file.write(f"<rdf:Description rdf:about={_attribute(_iri(subject))}>\n")
        for predicate, value in statements:
            found = _XML_NAME.search(_iri(predicate))
            if found is None:
                advice = f"RDF/XML can't name the property {predicate}; export to .ttl or .jsonld"
                raise InvalidInputError([Problem("--to", ".rdf", advice)])
            space, local = _iri(predicate)[: found.start()], found.group()
            element = f"{known.get(space, 'p')}:{local}"
            declaration = "" if space in known else f" xmlns:p={_attribute(space)}"
            if isinstance(value, str):
                file.write(f"  <{element}{declaration} rdf:resource={_attribute(_iri(value))}/>\n")
            else:
                kind = f" rdf:datatype={_attribute(_iri(value.datatype))}" if value.datatype else ""
                file.write(f"  <{element}{declaration}{kind}>{escape(xml_text(value.text), {chr(13): '&#13;'})}</{element}>\n")
            written += 1
        file.write("</rdf:Description>\n")
    file.write("</rdf:RDF>\n")
    return written


def xml_text(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids, each replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


# --- How terms are spelled --------------------------------------------------------------------------------------------

_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IRI = re.compile(r'[\x00-\x20<>"{}|\\^`\ud800-\udfff]')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'[\\"\x00-\x1f\x7f]')


def _iri(text: str) -> str:
    """Return an IRI with what no IRI may hold (spaces, quotes, brackets) percent-encoded."""
    return _NOT_IRI.sub(lambda found: quote(found.group(), safe="", errors="surrogatepass"), text)


def _quoted(text: str) -> str:
    # Half a surrogate pair, which no file can hold, becomes a question mark.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found.group(), f"\\u{ord(found.group()):04X}"), text) + '"'


def _literal(value: Literal) -> str:
    return _quoted(value.text) + (f"^^<{_iri(value.datatype)}>" if value.datatype else "")


def _attribute(text: str) -> str:
    return quoteattr(xml_text(text))


class _Names:
    """Prefixes and what is shortened by them: the ontology's own that the graph has a use for, and ours."""

    def __init__(self, graph: MergedGraph, all_graphs: bool) -> None:
        ours = {"rdfs": str(RDFS), "xsd": str(XSD), "entity": f"{BEEP}entity:", "attr": f"{BEEP}attr:"}
        if all_graphs:
            ours |= {"rdf": str(RDF), "prov": str(PROV), "oa": OA, "beep": BEEP}
            ours |= {kind: f"{BEEP}{kind}:" for kind in ("document", "activity", "user", "extraction", "evidence")}
        terms = {_split(iri) for iri in terms_of(graph)}
        used = {prefix: iri for prefix, iri in graph.prefixes.items() if iri in terms and iri not in ours.values()}
        self.prefixes: dict[str, str] = dict(used)
        for prefix, iri in ours.items():
            while self.prefixes.get(prefix, iri) != iri:
                prefix += "-"
            self.prefixes[prefix] = iri
        # An empty prefix is none there, and one that is a scheme would be read into every IRI of it.
        schemes = ("http", "https", "urn")
        self.json_ld = {prefix or "ontology": iri for prefix, iri in self.prefixes.items() if prefix not in schemes}
        self._by_space = {iri: prefix for prefix, iri in self.prefixes.items()}
        self._json_by_space = {iri: prefix for prefix, iri in self.json_ld.items()}

    def turtle(self, iri: str) -> str:
        space = _split(iri)
        prefix = self._by_space.get(space)
        if prefix is not None and _LOCAL.fullmatch(iri, len(space)):
            return f"{prefix}:{iri[len(space) :]}"
        return f"<{_iri(iri)}>"

    def literal(self, value: Literal) -> str:
        return _quoted(value.text) + (f"^^{self.turtle(value.datatype)}" if value.datatype else "")

    def compact(self, iri: str) -> str:
        space = _split(iri)
        prefix = self._json_by_space.get(space)
        if prefix is not None and _LOCAL.fullmatch(iri, len(space)):
            return f"{prefix}:{iri[len(space) :]}"
        return _iri(iri)

    def json_value(self, value: str | Literal) -> dict[str, str]:
        if isinstance(value, str):
            return {"@id": self.compact(value)}
        text = value.text.encode("utf-8", "replace").decode("utf-8")
        return {"@value": text} | ({"@type": self.compact(value.datatype)} if value.datatype else {})


def _split(iri: str) -> str:
    """Return the part of an IRI that a prefix may stand for."""
    return iri[: max(iri.rfind(mark) for mark in "#/:") + 1]
