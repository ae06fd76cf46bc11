"""An extractor of hand-written rules: deterministic and offline; it misses most of what a model would find."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rdflib import XSD

from compat.contracts import Entity, ExtractionResult, PipelineConfig
from tasks.extraction.chunking import split
from tasks.extraction.graph import Name, Proposal, assemble, build_entities, deduplicate, result_of
from tasks.extraction.ontology import Ontology, parse_ontology
from tasks.extraction.rules.entities import Evidence, gather_evidence, link_names
from tasks.extraction.rules.lexicon import lexicon_of
from tasks.extraction.rules.mentions import find_mentions, merge_mentions
from tasks.extraction.rules.references import Reader
from tasks.extraction.rules.relations import propose_relations
from tasks.extraction.rules.words import ENGLISH_WORDS
from tasks.extraction.sentences import Sentence, each_once, read_sentences

# Words in small letters from which on a sentence's language is told, and the least share of English ones.
_LONG, _ENGLISH = 8, 0.12


class RulesExtractor:
    """Reads the ontology's own words into English text: no model, no network, no learned weights.

    It makes a batch run anywhere, and finds little. The same input gives the same result, except for
    ``stats.duration_ms``. Any number of threads may share one.
    """

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the graph of one document. Raises OntologyParseError."""
        started = time.perf_counter()
        ontology = parse_ontology(ontology_content)
        lexicon = lexicon_of(ontology)
        chunks = split(text)
        sentences = _in_english(each_once(read_sentences(chunk) for chunk in chunks))
        mentions = merge_mentions(find_mentions(sentences, lexicon))
        names = link_names(mentions, _words_before(sentences))
        by_start = {name.mention.start_char: name for name in names}
        evidence = gather_evidence(sentences, by_start, lexicon)
        proposals = list(_read(sentences, by_start, evidence))
        entities = build_entities(names, evidence.types, config)
        proposals = deduplicate(_with_plain_objects(proposals, entities, ontology))
        graph = assemble(text, entities, proposals, ontology, config)
        return result_of(graph, config, started, len(chunks), len(mentions))


def _in_english(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that the rules can read: the long ones that are English, the short ones of an English document."""
    counts = [_english_words(sentence) for sentence in sentences]
    whole = sum(known for known, _ in counts), sum(small for _, small in counts)
    judged = (each if each[1] >= _LONG else whole for each in counts)
    # Of a few words nothing can be told.
    return [
        sentence for sentence, (known, small) in zip(sentences, judged, strict=True) if small < _LONG or known > small * _ENGLISH
    ]


def _english_words(sentence: Sentence) -> tuple[int, int]:
    """Return how many words in small letters, or at the beginning, are English for sure, and how many there are."""
    words = [token for token in sentence.tokens if token.is_word and not token.text[0].isdigit()]
    small = [token.lower for place, token in enumerate(words) if place == 0 or not token.is_capital]
    return sum(word in ENGLISH_WORDS for word in small), len(small)


def _words_before(sentences: Iterable[Sentence]) -> dict[int, str]:
    return {
        token.start: before.lower
        for sentence in sentences
        for before, token in zip(sentence.tokens, sentence.tokens[1:], strict=False)
    }


def _with_plain_objects(proposals: Iterable[Proposal], entities: Iterable[Entity], ontology: Ontology) -> Iterator[Proposal]:
    """Yield the proposals. An object without a known class becomes plain text if the property requires no class."""
    known = {entity.name.lower() for entity in entities}
    boundless = {each.iri for each in ontology.properties if not each.ranges}
    for each in proposals:
        plain = each.literal_type is None and each.predicate_iri in boundless and each.object.lower() not in known
        yield replace(each, literal_type=str(XSD.string)) if plain else each


def _read(sentences: Iterable[Sentence], names: dict[int, Name], evidence: Evidence) -> Iterator[Proposal]:
    reader = Reader(names, evidence)
    for sentence in sentences:
        arguments, subject = reader.read(sentence)
        yield from propose_relations(sentence, arguments, subject, evidence)
        reader.remember(arguments, subject)
