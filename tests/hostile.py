"""An extractor of names that spreadsheets, pages and parsers stumble over: ``KNOWLEDGE_EXTRACTOR=hostile:factory``."""

from typing import Any

from compat.contracts import Entity, Evidence, ExtractionResult, KnowledgeGraph, Mention, PipelineConfig, Relation

CLASS = "https://example.org/odd classes#Thing <b>"
PROPERTY = "https://example.org/odd#has%20part"
NAMES = (
    "<script>document.title='ran'</script>",
    "</script><img src=x onerror=\"document.title='ran'\">",
    '=HYPERLINK("http://example.org")',
    "+1 800",
    "-12",
    "@SUM(A1)",
    'quote " and \\ backslash; semicolon, comma',
    "line\nbreak\tand tab",
    "bell \x07 and \x1b escape",
    "a\u2028separator\u2029b",
    "]]> & <!-- comment -->",
    "`tick` $where {brace}",
    "日本語 名前 😀",
    "‮right to left",
)


class HostileExtractor:
    """Each document has all of ``NAMES`` as entities, a chain of relations between them, and a literal each."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        entities: list[Entity] = []
        relations: list[Relation] = []
        mention: dict[str, Any] = {"start_char": 0, "end_char": min(3, len(text))}
        for number, name in enumerate(NAMES):
            entities.append(
                Entity(
                    id=f"e{number}",
                    mention=name,
                    types=(CLASS,) if number % 2 else (),
                    attributes={"odd key/% of it": name, "number": number, "share": 0.5, "yes": True},
                    mentions=(Mention(text=text[:3], **mention),),
                )
            )
            evidence = Evidence(text=text[:3], **mention)
            if number:
                relations.append(
                    Relation(
                        id=f"r{number}",
                        subject_id=f"e{number - 1}",
                        predicate_iri=PROPERTY,
                        object_id=f"e{number}",
                        evidence=evidence,
                    )
                )
            relations.append(Relation(id=f"l{number}", subject_id=f"e{number}", predicate_iri="urn:odd:note", literal_value=name))
        relations.append(Relation(id="loop", subject_id="e0", predicate_iri=PROPERTY, object_id="e0"))
        return ExtractionResult(graph=KnowledgeGraph(entities=tuple(entities), relations=tuple(relations)))


def factory() -> HostileExtractor:
    return HostileExtractor()
