"""Input as people, programs and attackers write it: requests, sources, ontologies, settings and options, made by hypothesis."""

import copy
import json
import string
from typing import Any

import fsspec
from hypothesis import strategies as st

import faults
from compat.settings import PREFIX, Settings

# Where nothing listens: port 1 needs rights that no test has.
NOBODY = "127.0.0.1:1"
# Texts that some reader somewhere takes for more than a text.
ODD = (
    "", " ", "\t", "\n", "\x00", "\x1b[31m", "\udcff", "\ud800", "\u202e", "é", "日本", "😀", "null", "true", "[]", "{}", "{",
    '{"a":', "-", "--", "--help",
    "-1", "0", "1e400", "inf", "-inf", "nan", "0x10", "1_000", "٣", "99999999999999999999", "3.5", "1,5", "a" * 201,
    "[red]x[/red]", "%s%n", "${HOME}", "~",
    "~nobody", "*", "[", "a[", "?", "#", "env:", "env:NOPE", "env:A=B", "sample", "sample/", ".", "/dev/null",
    "/proc/self/mem",
    "file:", "sqlite:///", "sqlite://", "postgresql://", "postgresql://h:x/y", "mysql://h/y", "http://",
    f"http://{NOBODY}/x.csv", "http://[", "https://h:99999999/x",
    "data:", "data:x", "data:;base64,_", "data:text/csv,documentId", "x::y", "::", "simplecache::", "zip://",
    "zip://x.csv::nowhere.zip", "rules", "linear", "llm",
    "a:b", "os:nothing", ":", "a:", ":b", "legacy", "LEGACY", "30d", "1000000d", "00d", "-1d", "d", "٣d",
    "2026-01-01", "continue-on-failure", "'", '"', "\\", "a\\b", "a.csv",
    "a.neo4j.csv", ".csv", "a.ttl", "a.html", "x" * 300 + ".ttl", "nowhere/a.ttl", "a\x00.ttl", "\udcff.ttl",
)  # fmt: skip
# Protocols that go out to the internet by a name alone, or write on this machine.
_ELSEWHERE = {"github", "gist", "hf", "git", "libarchive"}
PROTOCOLS = sorted(set(fsspec.available_protocols()) - _ELSEWHERE)

ODD_TEXT = st.one_of(
    st.sampled_from(ODD), st.text(max_size=12), st.text(st.characters(codec="utf-8", exclude_characters="/~"), max_size=30)
)
ODD_VALUE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), ODD_TEXT, st.binary(max_size=4), st.just(object), st.just(2**70)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=3)
    ),
    max_leaves=5,
)


def good_request() -> dict[str, Any]:
    return {
        "batchId": "bad-input",
        "organizationId": "org",
        "ontologyId": "ontology",
        "documents": [faults.document("a"), faults.document("b")],
        "config": {"concurrency": 2, "failurePolicy": "continue-on-failure", "maxRetries": 1, "enableEntityResolution": True},
    }


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in _paths(each, (*path, key)))]


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """A request of which one to three parts are something else, are missing, or have another beside them."""
    request: Any = good_request()
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(request)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(ODD_VALUE)
            continue
        holder = request
        for key in path[:-1]:
            holder = holder[key]
        match draw(st.sampled_from(("other", "other", "missing", "more", "twice"))):
            case "other":
                holder[path[-1]] = draw(ODD_VALUE)
            case "missing":
                del holder[path[-1]]
            case "more" if isinstance(holder, dict):
                holder[draw(ODD_TEXT)] = draw(ODD_VALUE)
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[path[-1]]))
    return request


ID = st.one_of(ODD_TEXT, ODD_VALUE, st.just("there"))
# The public functions beside run_batch, each with what its arguments are drawn from.
CALLS: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
    "get_status": (ID,),
    "subscribe": (ID,),
    "document_progress": (ID, ID),
    "cancel_batch": (ID,),
    "resume_batch": (ID, ODD_VALUE),
    "list_batches": (st.one_of(st.integers(), ODD_VALUE),),
    "current_mode": (ODD_VALUE, ID, ID),
    "set_mode": (st.one_of(ODD_VALUE, st.sampled_from(["engine", "legacy"])), ODD_VALUE, ID),
    "demote": (ODD_VALUE,),
    "graph_of": (ID,),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, tuple[Any, ...]]:
    name = draw(st.sampled_from(sorted(CALLS)))
    return name, tuple(draw(each) for each in CALLS[name])


# --- Sources ----------------------------------------------------------------------------------------------------------

_GOOD = {
    ".jsonl": b'{"documentId": "a", "text": "One."}\n{"documentId": "b", "text": "Two."}\n',
    ".csv": b"documentId,text\na,One.\nb,Two.\n",
    ".tsv": b"documentId\ttext\na\tOne.\n",
    ".parquet": b"PAR1\x15\x04\x15\x00PAR1",
    ".csv.gz": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    ".jsonl.gz": b"\x1f\x8b",
}
_CLASS = b"<urn:x:A> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://www.w3.org/2002/07/owl#Class> .\n"
_ONTOLOGIES = {
    ".ttl": b"@prefix owl: <http://www.w3.org/2002/07/owl#> . <urn:x:A> a owl:Class .",
    ".nt": _CLASS,
    ".nq": _CLASS,
    ".trig": b"{ " + _CLASS + b"}",
    ".rdf": b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:owl="http://www.w3.org/2002/07/owl#">'
    b'<owl:Class rdf:about="urn:x:A"/></rdf:RDF>',
    ".jsonld": b'{"@id": "urn:x:A", "@type": "http://www.w3.org/2002/07/owl#Class"}',
    ".obo": b"format-version: 1.2\n[Term]\nid: X:1\nname: a\n",
}
_BYTES = (b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b"\n", b"\r", b"{", b"}", b"[" * 2000, b"<",
b">", b"&x;", b"@", b"\\ud800", b"NaN",
          b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>", b"<?xml version='1.0' encoding='utf-99'?>",
          b"1" * 400, b"documentId")  # fmt: skip


@st.composite
def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(content)))
        end = draw(st.integers(begin, min(begin + 20, len(content))))
        content = content[:begin] + draw(st.one_of(st.sampled_from(_BYTES), st.binary(max_size=6))) + content[end:]
    return content


def _files(good: dict[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.sampled_from(sorted(good)).flatmap(lambda ending: st.tuples(st.just(ending), _damaged(good[ending])))


# A table's file and an ontology's: their endings and their bytes.
FILES = st.tuples(_files(_GOOD), _files(_ONTOLOGIES))
ADDRESSES = st.one_of(
    ODD_TEXT,
    st.tuples(
        st.sampled_from(PROTOCOLS),
        st.sampled_from(
            ("{}://", "{}:", "{}://x", "{}:///x.csv", "{}://" + NOBODY + "/x.csv", "{}://u:secret@" + NOBODY + "/x.csv",
            "{}::x.csv", "{}://a::b.csv")
        ),
    ).map(lambda both: both[1].format(both[0])),
)  # fmt: skip

# --- Settings and options ---------------------------------------------------------------------------------------------

# What a variable of the environment and an argument of a program can hold: no NUL, and of surrogates those that stand for a byte.
ARGUMENT = ODD_TEXT.map(lambda text: "".join(each for each in text if each != "\x00" and not "\ud800" <= each < "\udc80"))
# Nothing of a test lies outside of its folder.
INSIDE = ARGUMENT.map(lambda text: text.replace("/", "").replace("~", "").strip(".") or "x")


@st.composite
def settings(draw: st.DrawFn) -> dict[str, str]:
    """One or two variables, each with a text that may be no value of it."""
    names = [name for name in Settings.model_fields if name != "llm_api_key"]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    values = {}
    for name in chosen:
        text = draw(INSIDE if name in ("home", "database_url") else ARGUMENT)
        values[PREFIX + name.upper()] = (
            draw(st.sampled_from(("{}", "sqlite:///{}", "{}://x"))).format(text) if name == "database_url" else text
        )
    return values


# Commands that ask nobody outside and start no server, with the options that take a value.
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("--ontology", "--mode", "--policy", "--concurrency", "--max-retries", "--batch-id", "--failed-of",
    "--id-column", "--text-column",
            "--delimiter", "--query", "--extractor", "--model", "--output", "--format"),
    "resume": ("--mode", "--extractor", "--model", "--output", "--format"),
    "status": ("--format",),
    "events": (),
    "cancel": (),
    "list": ("--limit", "--format"),
    "export": ("--to",),
    "view": ("--to",),
    "calls": ("--format",),
    "prune": ("--older-than",),
    "evidence": ("--format", "--to", "--junit", "--min-batches", "--max-age"),
    "train": ("--ontology", "--rows", "--output"),
    "evaluate": ("--expected", "--train-rows", "--ontology", "--extractor", "--model", "--plot", "--format"),
    "mode show": ("--organization",),
    "mode set": ("--percent", "--organization"),
    "mode promote": ("--percent", "--min-batches", "--max-age"),
    "mode restore": ("--reason", "--min-batches", "--max-age"),
    "mode history": ("--limit", "--format"),
    "parity show": ("--format",),
    "parity report": ("--since", "--html", "--format"),
    "parity baseline": ("--runs", "--ontology", "--policy", "--format"),
    "cutover check": ("--min-batches", "--max-age", "--format"),
    "retries audit": ("--format",),
}  # fmt: skip
_WRITES = ("--output", "--to", "--html", "--plot")


# What lets a command get further than its first option.
_VALUES = {
    "--ontology": "source/ontology.ttl", "--mode": "legacy", "--policy": "abort-all", "--format": "json", "--failed-of": "there",
    "--extractor": "rules", "--older-than": "1d", "--since": "1d", "--max-age": "1d", "--junit": "source/ontology.ttl",
    "--rows": "source/documents.jsonl", "--expected": "source/documents.jsonl", "--text-column": "text",
}  # fmt: skip
_ARGUMENTS = {
    **dict.fromkeys(("export", "view", "resume", "status", "calls", "events", "cancel", "parity show", "retries audit"), "there"),
    **dict.fromkeys(("run", "parity baseline", "evaluate"), "source"),
    "mode set": "legacy",
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with arguments that may not be any of its own."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    good = _ARGUMENTS.get(name)
    odd = st.lists(st.one_of(ARGUMENT, st.just("there"), st.just("source")), max_size=2)
    arguments = [good] if good and draw(st.integers(0, 3)) else draw(odd)
    options = []
    for option in draw(st.lists(st.sampled_from(COMMANDS[name]), max_size=2, unique=True)) if COMMANDS[name] else ():
        value = draw(INSIDE if option in _WRITES else st.one_of(st.just(_VALUES.get(option, "3")), ARGUMENT))
        options += [option, value] if draw(st.booleans()) else [f"{option}={value}"]
    if name == "view" and "--to" not in "".join(options):
        # Without it a browser is opened.
        options += ["--to", "page.html"]
    return [*name.split(), *arguments, *options]


# --- The deployment's form --------------------------------------------------------------------------------------------


def parameters(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """What a form or a program may send as parameters of a deployment."""
    sendable = ODD_VALUE.filter(_is_sendable)
    return st.dictionaries(st.one_of(st.sampled_from(names), st.sampled_from(names), st.text(string.ascii_lowercase,
    max_size=8)),
                           st.one_of(ADDRESSES, sendable), max_size=4)  # fmt: skip


def _is_sendable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError):
        return False
    return True
