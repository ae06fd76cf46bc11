"""An estimate of what a batch would ask of a model and cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from compat.contracts import DocumentInput
from compat.errors import OntologyParseError
from compat.settings import Settings
from tasks.extraction.chunking import split
from tasks.extraction.llm.caller import CallStore, estimated_tokens, request_key
from tasks.extraction.llm.client import Client
from tasks.extraction.llm.messages import Asked, Request
from tasks.extraction.llm.stages import Stage, request_of, stages_of
from tasks.extraction.llm.vocabulary import vocabulary
from tasks.extraction.llm.wire import Items
from tasks.extraction.ontology import parse_ontology

_BLOCK = 500


@dataclass(frozen=True)
class Estimate:
    """What is to be asked, and about how many tokens that takes. ``stored`` calls have their answer in the store."""

    documents: int
    unreadable: int
    chunks: int
    calls: int
    stored: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    @property
    def tokens(self) -> int:
        """Tokens in and out together."""
        return self.tokens_in + self.tokens_out


def estimate(documents: Iterable[DocumentInput], settings: Settings, client: Client, store: CallStore | None) -> Estimate:
    """Return what these documents would take. Nobody is asked anything; without a store nothing counts as answered.

    The later stages of three are estimated by their chunk: what they are told of its mentions isn't known yet.
    """
    counts = {"documents": 0, "unreadable": 0, "chunks": 0}
    calls = stored = tokens_in = tokens_out = 0
    since = settings.llm_fresh_since or 0.0
    requests = _requests(documents, stages_of(settings.llm_calls), client, counts)
    # Documents with the same text are asked about once.
    seen: set[str] = set()
    while block := list(islice(requests, _BLOCK)):
        keyed = {request_key(client, stage.prompt.version, request): request for stage, request in block}
        known = store.find(list(keyed), since) if store else {}
        for key, request in keyed.items():
            if key in seen:
                continue
            seen.add(key)
            calls += 1
            if key in known:
                stored += 1
            else:
                each_in, each_out = estimated_tokens(request)
                tokens_in += each_in
                tokens_out += each_out
    cost = None
    if settings.llm_price_in is not None and settings.llm_price_out is not None:
        cost = (tokens_in * settings.llm_price_in + tokens_out * settings.llm_price_out) / 1_000_000
    return Estimate(**counts, calls=calls, stored=stored, tokens_in=tokens_in, tokens_out=tokens_out, cost=cost)


def _requests(
    documents: Iterable[DocumentInput], stages: tuple[Stage, ...], client: Client, counts: dict[str, int]
) -> Iterator[tuple[Stage, Request]]:
    for document in documents:
        counts["documents"] += 1
        try:
            ontology = parse_ontology(document.ontology_content)
        except OntologyParseError:
            # Its attempt will fail before it asks anything.
            counts["unreadable"] += 1
            continue
        for chunk in split(document.text):
            if chunk.text.strip():
                counts["chunks"] += 1
                words = vocabulary(ontology, chunk.text)
                for stage in stages:
                    asked = Asked(client.provider, client.model_name, stage.name, str(chunk.index))
                    yield stage, request_of(stage, chunk.text, words, asked, Items())
