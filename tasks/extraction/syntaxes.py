"""The syntaxes that an ontology may be written in: recognised by its first characters, confirmed by parsing, read safely."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.parsers import expat

import rdflib
from rdflib.plugins.parsers.notation3 import BadSyntax

from compat.errors import OntologyParseError
from compat.private import line_of_parser, syntax_problem

# Relative IRIs must not come out as paths of the folder that the process happens to run in.
BASE = "https://ontology.invalid/"
# Characters of an XML entity's text. Real ones are prefixes of IRIs; longer ones multiply a small file into a huge one.
ENTITY_CHARACTERS = 256

_CONVERT = "convert it with: robot convert --input FILE --output ontology.ttl"
# Syntaxes that are recognised and not read, by what they begin with: name, and what to do.
_FOREIGN = (
    (r"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with: git lfs pull"),
    (r"(?i)<!doctype html|<html", "an HTML page", "download the ontology itself, e.g. curl -L -H 'Accept: text/turtle' URL"),
    (r"(Prefix|Ontology)\s*\(", "OWL functional syntax", _CONVERT),
    (r"(Prefix|Ontology):\s", "OWL Manchester syntax", _CONVERT),
    (r"format-version:|\[Term\]", "OBO", _CONVERT),
)
_OWL_XML = "http://www.w3.org/2002/07/owl#"
_RDF_XML = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IRI_TAG = re.compile(r"<[^<>\s]*[:#/][^<>\s]*>")


def read_graph(content: str) -> rdflib.Graph:
    """Return the triples of an ontology's text: Turtle, N-Triples, TriG, N-Quads, RDF/XML or JSON-LD.

    Named graphs are read as one. Nothing is fetched: neither imports, nor remote contexts, nor external entities.
    Raises OntologyParseError, which names the syntax, the place and what to do.
    """
    text = content.lstrip("\ufeff \t\r\n")
    for pattern, syntax, advice in _FOREIGN:
        if re.match(pattern, _without_comments(text)):
            raise OntologyParseError(f"The ontology is {syntax}, which isn't read; {advice}", syntax)
    with quiet_terms():
        if text.startswith("<") and not _IRI_TAG.match(text):
            return _rdf_xml(text)
        if text.startswith(("{", "[")):
            try:
                document = json.loads(text)
            except RecursionError as error:
                raise _invalid("json-ld", "it is nested too deeply", error) from error
            except ValueError:
                # Turtle and TriG may begin with a bracket as well.
                pass
            else:
                return _json_ld(document, text)
        return _turtle(text)


def _without_comments(text: str) -> str:
    return re.sub(r"\A(\s*#[^\n]*\n)+\s*", "", text)


# --- Turtle and its relatives -------------------------------------------------------------------------------------------


def _turtle(text: str) -> rdflib.Graph:
    """Turtle, of which N-Triples is a part; TriG and N-Quads where it isn't that."""
    try:
        return _parsed(text, "turtle")
    except OntologyParseError:
        for syntax in ("trig", "nquads"):
            try:
                return _parsed(text, syntax)
            except OntologyParseError:
                continue
        # What nearly all ontologies are: its complaint is the one to read.
        raise


def _parsed(text: str, syntax: str) -> rdflib.Graph:
    graph = rdflib.Graph()
    into: Any = graph if syntax in ("turtle", "xml") else rdflib.Dataset()
    try:
        into.parse(data=text, format=syntax, publicID=BASE)
    except BadSyntax as error:
        line, reason = syntax_problem(error)
        raise _invalid(syntax, f"line {line}: {reason}", error) from error
    except RecursionError as error:
        raise _invalid(syntax, "it is nested too deeply", error) from error
    except Exception as error:  # for some texts the parsers raise AssertionError, ValueError and others
        line_or_none = line_of_parser(error.__traceback__)
        where = f"line {line_or_none}: " if line_or_none else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _invalid(syntax, f"{where}{reason}", error) from error
    if into is not graph:
        for subject, predicate, object_, _ in into.quads():
            graph.add((subject, predicate, object_))
    return graph


def _invalid(syntax: str, what: str, error: Exception | None = None) -> OntologyParseError:
    name = {"turtle": "Turtle", "trig": "TriG", "nquads": "N-Quads", "xml": "RDF/XML", "json-ld": "JSON-LD"}[syntax]
    cause = f"{type(error).__name__}: {error}" if error is not None else ""
    return OntologyParseError(f"The ontology isn't valid {name}, {what}; mend that and run again", syntax, cause)


# --- XML ----------------------------------------------------------------------------------------------------------------


def _rdf_xml(text: str) -> rdflib.Graph:
    # The text is decoded by now; an encoding that its first line declares would be applied once more.
    text = re.sub(r"\A<\?xml[^>]*\?>", "", text)
    root = _checked_root(text)
    if root.lower() == "html" or root.endswith(" html"):
        raise OntologyParseError("The ontology is an HTML page, which isn't read; download the ontology itself", "an HTML page")
    if root == f"{_OWL_XML} Ontology":
        raise OntologyParseError(f"The ontology is OWL/XML, which isn't read; {_CONVERT}", "OWL/XML")
    if not root.startswith(_RDF_XML):
        raise OntologyParseError(
            f"The ontology is XML whose root is {root.split(' ')[-1]!r}, not rdf:RDF; save it as RDF/XML or Turtle", "xml"
        )
    return _parsed(text, "xml")


def _checked_root(text: str) -> str:
    """Return the root element's name behind its namespace, once every entity that the text declares was found harmless."""
    root = ""

    def check_entity(name: str, is_parameter: bool, value: str | None, *_: object) -> None:
        if value is None or is_parameter:
            raise _invalid("xml", f"it declares the external or parameter entity {name!r}, which isn't read")
        if "&" in value or len(value) > ENTITY_CHARACTERS:
            raise _invalid("xml", f"its entity {name!r} holds other entities or more than {ENTITY_CHARACTERS} characters")

    def note_root(name: str, _: object) -> None:
        nonlocal root
        root = root or name

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.EntityDeclHandler = check_entity
    parser.StartElementHandler = note_root
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise _invalid("xml", f"line {error.lineno}: {expat.ErrorString(error.code)}", error) from error
    return root


# --- JSON-LD ------------------------------------------------------------------------------------------------------------


def _json_ld(document: object, text: str) -> rdflib.Graph:
    remote = _remote_context(document)
    if remote is not None:
        raise _invalid("json-ld", f"its context {remote!r} is on the web, and nothing is fetched: write the context itself there")
    return _parsed(text, "json-ld")


def _remote_context(document: object) -> str | None:
    """Return the address of a context that rdflib would fetch; None where all of them are in the document."""
    ahead: list[tuple[object, bool]] = [(document, False)]
    while ahead:
        value, is_context = ahead.pop()
        if is_context and isinstance(value, str):
            return value
        if isinstance(value, dict):
            for key, item in value.items():
                ahead.append((item, key in ("@context", "@import")))
        elif isinstance(value, list):
            ahead.extend((item, is_context) for item in value)
    return None


_terms = logging.getLogger("rdflib.term")


@contextmanager
def quiet_terms() -> Iterator[None]:
    """Silence rdflib's log about odd IRIs and literals while *this* thread parses; other threads' logging doesn't change."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread

    _terms.addFilter(keep)
    try:
        yield
    finally:
        _terms.removeFilter(keep)
