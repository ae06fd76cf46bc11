"""knowledge-batch by its Python functions: ``legacy`` or ``engine``, against the Prefect server of the case."""

import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.unit import RELATIONS, Case, Clock, given, text_of, work

KIND = "https://example.org/made#thing"
WARM_UP = 10_000_000


class Unit:
    """The extractor that does the unit's work."""

    def __init__(self) -> None:
        self.case = Case(**json.loads(os.environ["BENCHMARK_CASE"]))

    def run(self, text: str, _ontology: str, config: Any) -> Any:
        from compat.contracts import Entity, ExtractionResult, ExtractionStats, GraphStats, KnowledgeGraph, Mention, Relation

        number = int(config.document_id)
        entities = tuple(
            Entity(
                id=f"{number}-e{k}",
                mention=name,
                types=(KIND,),
                mentions=(Mention(text=name, start_char=0, end_char=len(name)),),
            )
            for k, name in enumerate(work(number, text, self.case))
        )
        relations = tuple(
            Relation(id=f"{number}-r{k}", subject_id=entities[k].id, predicate_iri="knows", object_id=entities[k + 5].id)
            for k in range(RELATIONS)
        )
        counts = {"entity_count": len(entities), "relation_count": len(relations)}
        index = {entity.mention: entity.id for entity in entities}
        return ExtractionResult(
            graph=KnowledgeGraph(entities=entities, relations=relations, entity_index=index, stats=GraphStats(**counts)),
            stats=ExtractionStats(chunk_count=1, mention_count=len(entities), **counts),
        )


def request(case: Case, first: int, count: int) -> Any:
    from flows.sources.documents import Documents, Row

    def rows() -> Iterator[Row]:
        for number in range(first, first + count):
            yield Row(str(number), str(number), text_of.__wrapped__(number))

    config = {"concurrency": case.concurrency, "enableEntityResolution": case.resolution}
    if case.resolution:
        # Streamed, as a batch of this size is.
        return Documents(rows(), "# none").request(f"batch-{first}", config)
    documents = [{"documentId": row.document_id, "text": row.text, "ontologyContent": "# none"} for row in rows()]
    return {"batchId": f"batch-{first}", "organizationId": "o", "ontologyId": "t", "documents": documents, "config": config}


def main() -> None:
    case, (mode,) = given()
    import flows

    def run(asked: Any) -> int:
        if case.resolution:
            return getattr(flows.run_request(asked, mode), "total_documents", 0)
        return flows.run_batch(asked, mode).success_count

    # Loads what is loaded once a process; none of these fails.
    run(request(case, WARM_UP + 1, 2))
    asked = request(case, 0, case.documents)
    before = peak_mib()
    with Clock() as clock:
        done = run(asked)
    clock.report(done, case, mebibytes=peak_mib() - before)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    # An exit that waits for Prefect's events is none of the batch.
    main()
    sys.stdout.flush()
