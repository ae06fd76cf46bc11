"""From a model's items to a document's graph: labels become IRIs, quotes become offsets, and what doesn't hold is counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import rdflib
from rdflib import RDF, RDFS, XSD

from compat.contracts import Entity, KnowledgeGraph, Mention, PipelineConfig
from compat.ids import derived_id
from tasks.extraction.graph import Proposal, assemble, deduplicate
from tasks.extraction.llm.quotes import EXACT, NORMALISED, Place, Quotable
from tasks.extraction.llm.vocabulary import Vocabulary
from tasks.extraction.llm.wire import EntityItem, Items, RelationItem
from tasks.extraction.ontology import Ontology, OntologyProperty
from tasks.extraction.rules.mentions import merge_mentions
from tasks.extraction.syntaxes import quiet_terms

NOT_IN_TEXT = "not in the text"
QUOTE_NOT_IN_TEXT = "quote not in the text"
NAME_NOT_IN_TEXT = "fuller name not in the text"
NO_SUBJECT, NO_OBJECT = "subject isn't an entity", "object isn't an entity"
DOMAIN_OR_RANGE = "breaks domain or range"
WRONG_VALUE = "value of another type"

_TEXTS = (str(XSD.string), str(RDFS.Literal), str(RDF.langString), str(RDF.PlainLiteral))


@dataclass
class _Found:
    """A thing that the document names."""

    name: str
    types: Counter[str] = field(default_factory=Counter)
    mentions: dict[tuple[int, int], Mention] = field(default_factory=dict)


@dataclass
class _Said:
    """A statement, with the entities' keys in place of what the model wrote."""

    subject: str
    rule: OntologyProperty
    object: str
    is_entity: bool
    place: Place


class Findings:
    """What the chunks of one document gave. Add them in the document's order: the result is the same whoever came first."""

    def __init__(self, text: str, ontology: Ontology) -> None:
        self.dropped: Counter[str] = Counter()
        self._document = Quotable(text)
        self._ontology = ontology
        self._found: dict[str, _Found] = {}
        self._said: list[_Said] = []

    def add(self, items: Items, vocabulary: Vocabulary, start: int, end: int, chunk_index: int) -> None:
        """Add what was found in the stretch of the document from ``start`` to ``end``."""
        self.dropped += items.dropped
        part = Quotable(self._document.text[start:end])
        names: dict[str, str] = {}
        for item in items.entities:
            self._add_entity(item, vocabulary, part, start, chunk_index, names)
        for relation in items.relations:
            self._add_relation(relation, vocabulary, part, start, names)

    def _add_entity(
        self, item: EntityItem, vocabulary: Vocabulary, part: Quotable, start: int, chunk_index: int, names: dict[str, str]
    ) -> None:
        class_ = vocabulary.class_of(item.type)
        places = part.find_all(item.mention)
        if class_ is None or not places:
            self.dropped[NOT_IN_TEXT] += 1
            return
        mention = part.text[places[0].start : places[0].end]
        full = self._document.find(item.name) if item.name else None
        if item.name and full is None:
            self.dropped[NAME_NOT_IN_TEXT] += 1
        name = self._document.text[full.start : full.end] if full else mention
        key = name.lower()
        found = self._found.setdefault(key, _Found(name))
        found.types[class_.iri] += 1
        for place in places:
            at = (start + place.start, start + place.end)
            # A chunk begins with the last sentence of the one before it, so a place may be found twice.
            found.mentions.setdefault(
                at,
                Mention(
                    text=self._document.text[slice(*at)],
                    start_char=at[0],
                    end_char=at[1],
                    confidence=place.confidence,
                    suggested_type=class_.iri,
                    chunk_index=chunk_index,
                ),
            )
        for said in (item.mention, mention, name):
            names.setdefault(said.strip().lower(), key)

    def _add_relation(
        self, item: RelationItem, vocabulary: Vocabulary, part: Quotable, start: int, names: dict[str, str]
    ) -> None:
        rule = vocabulary.property_of(item.predicate)
        quote = part.find(item.quote)
        subject = names.get(item.subject.strip().lower())
        object_ = names.get(item.object.strip().lower())
        if rule is None or quote is None:
            self.dropped[QUOTE_NOT_IN_TEXT] += 1
        elif subject is None:
            self.dropped[NO_SUBJECT] += 1
        elif object_ is None and rule.kind == "object" and (rule.ranges or part.find(item.object) is None):
            self.dropped[NO_OBJECT] += 1
        else:
            is_entity = object_ is not None and rule.kind == "object"
            value = object_ if is_entity and object_ else item.object.strip()
            place = Place(start + quote.start, start + quote.end, quote.confidence)
            self._said.append(_Said(subject, rule, value, is_entity, place))

    def graph(self, config: PipelineConfig) -> tuple[KnowledgeGraph, int]:
        """Return the document's graph, and how many mentions it has."""
        entities = self._entities(config)
        by_key = {entity.name.lower(): entity for entity in entities}
        proposals = list(self._proposals(by_key))
        graph = assemble(self._document.text, entities, deduplicate(proposals), self._ontology, config)
        return graph, sum(len(entity.mentions) for entity in entities)

    def _entities(self, config: PipelineConfig) -> list[Entity]:
        merged = merge_mentions(mention for found in self._found.values() for mention in found.mentions.values())
        kept = {(each.start_char, each.end_char) for each in merged}
        entities = []
        for key, found in self._found.items():
            mentions = sorted(found.mentions.values(), key=lambda each: each.start_char)
            # A name within another one ("Oslo" in "University of Oslo") keeps its first place where it has no other.
            own = [each for each in mentions if (each.start_char, each.end_char) in kept] or mentions[:1]
            # The class that most chunks say is the main one; at a tie the first said.
            types = tuple(iri for iri, _ in found.types.most_common())
            entities.append(
                Entity(
                    id=derived_id("knowledge_entity", config.organization_id, config.document_id, key),
                    mention=own[0].text,
                    canonical_name=found.name,
                    types=types,
                    confidence=max(each.confidence for each in own),
                    mentions=tuple(own),
                )
            )
        entities.sort(key=lambda each: each.mentions[0].start_char)
        return entities

    def _proposals(self, entities: dict[str, Entity]) -> Iterable[Proposal]:
        for said in self._said:
            subject, rule = entities[said.subject], said.rule
            evidence = (said.place.start, said.place.end)
            confidence = EXACT if said.place.confidence == EXACT else NORMALISED
            if said.is_entity:
                object_ = entities[said.object]
                if self._ontology.allows(rule, subject.types, object_.types):
                    yield Proposal(subject.name, rule.iri, object_.name, None, confidence, evidence)
                else:
                    self.dropped[DOMAIN_OR_RANGE] += 1
                continue
            datatype = next((each for each in rule.ranges if each.startswith(str(XSD)) and each not in _TEXTS), str(XSD.string))
            if not _is_a(said.object, datatype):
                self.dropped[WRONG_VALUE] += 1
            elif not self._ontology.allows_literal(rule, subject.types, datatype):
                self.dropped[DOMAIN_OR_RANGE] += 1
            else:
                yield Proposal(subject.name, rule.iri, said.object, datatype, confidence, evidence)


def _is_a(value: str, datatype: str) -> bool:
    with quiet_terms():
        return bool(value) and not rdflib.Literal(value, datatype=rdflib.URIRef(datatype)).ill_typed
