"""Fill a store with the least evidence that a cutover can be practised on; HANDOFF_P4.md says how to run it.

Three batches in shadow mode, every document of which fails at its first attempt, and one batch that fails and is resumed. Ends
once the engine has repeated the three. Needs a running `knowledge-batch up`.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

import flows
from compat.contracts import DocumentInput, ExtractionResult, PipelineConfig
from compat.parity import archive
from compat.store import Store, shadow_requests
from flows.shadow import submission
from flows.sources import load
from tasks.extraction import RulesExtractor

# The gate wants 20 retries: three batches of eight documents make 24.
SHADOWS = ("the-first-shadow", "the-second", "the-third")
DOCUMENTS = 8
# A document has four attempts, so a batch whose provider is away for four calls of it fails, and a resume completes it.
RESUMED = "the-resumed"
CALLS_AWAY = 4
WAIT_SECONDS = 180.0

calls: Counter[str] = Counter()


class Busy:
    """The rules behind a provider that is busy at the first call for a document, or at the first four of the last batch's."""

    def __init__(self) -> None:
        self._rules = RulesExtractor()

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the rules' graph, unless the provider is busy."""
        calls[config.document_id] += 1
        if calls[config.document_id] <= (CALLS_AWAY if config.organization_id == RESUMED else 1):
            raise ConnectionError(f"the provider is busy (call {calls[config.document_id]} for {config.document_id})")
        return self._rules.run(text, ontology_content, config)


def busy() -> Busy:
    """Return the extractor; the factory that KNOWLEDGE_EXTRACTOR names."""
    return Busy()


def run(batch_id: str, documents: Sequence[DocumentInput], mode: str) -> None:
    """Run one batch and say what came of it."""
    request = {
        "batchId": batch_id,
        "organizationId": batch_id if batch_id == RESUMED else "practice",
        "ontologyId": "sample",
        "documents": [document.model_dump(by_alias=True) for document in documents],
    }
    result = flows.run_batch(request, mode)
    print(f"{batch_id}: {result.success_count} of {result.total_documents} extracted")


def verdict(store: Store, shadows: Store, batch_id: str) -> str:
    """Wait for the report of a batch and return its verdict. Exits where there will be none."""
    until = time.monotonic() + WAIT_SECONDS
    while not (found := archive.reports(shadows.database, batch_id)):
        asked = shadow_requests.find(store.database, batch_id)
        if asked is None or asked.status == "refused" or time.monotonic() > until:
            sys.exit(f"error: {batch_id} was not repeated: {asked.summary if asked else 'nobody asked for it'}")
        if asked.status == "requested" and asked.reason:
            # Prefect was too busy to take it, and the upkeep, which asks again, is minutes away.
            submission.submit_waiting(store)
        time.sleep(1)
    return found[0].verdict


def main() -> None:
    """Run the batches, and wait until the engine has repeated those in shadow mode."""
    os.environ["KNOWLEDGE_EXTRACTOR"] = "practice:busy"
    other = next((each.batch_id for each in flows.list_batches(10) if each.batch_id not in (*SHADOWS, RESUMED)), None)
    if other is not None:
        sys.exit(f"error: this store holds the batch {other}; practise on an empty one (KNOWLEDGE_HOME, KNOWLEDGE_DATABASE_URL)")
    documents = list(load("sample"))
    for number, batch_id in enumerate(SHADOWS):
        run(batch_id, documents[number * DOCUMENTS :][:DOCUMENTS], "shadow")
    run(RESUMED, documents[-1:], "legacy")
    resumed = flows.resume_batch(RESUMED, "legacy")
    print(f"{RESUMED}: resumed, {resumed.success_count} of {resumed.total_documents} extracted")
    store, shadows = Store.from_settings(), Store.of_shadows()
    for batch_id in SHADOWS:
        print(f"{batch_id}: repeated by the engine, {verdict(store, shadows, batch_id)}")


if __name__ == "__main__":
    main()
