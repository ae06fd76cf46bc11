"""The callers of a drill: processes that run small batches one after the other, and the extractor of their documents.

Started with a name; each writes a line of JSON as a batch starts, and one as it has ended or failed. They go on until their
stdin is closed.
"""

import json
import os
import sys
import time
import zlib
from pathlib import Path
from threading import Event, Thread
from typing import Any

from compat.contracts import (
    Entity,
    ExtractionResult,
    ExtractionStats,
    GraphStats,
    KnowledgeGraph,
    Mention,
    PipelineConfig,
)
from compat.ids import derived_id

# The folder in which the extractor counts its calls, a file a document.
DOOR = "KNOWLEDGE_DRILL_DOOR"
EXTRACTOR = "flows.drill.callers:extractor"
ORGANIZATION = "drill"
# How long a caller rests between two batches, in seconds.
REST_SECONDS = 0.2
# How long a document waits for the drill at most, in seconds.
WAIT_SECONDS = 120.0


class NotReadyError(RuntimeError):
    """A failure that another attempt mends."""


class DrillExtractor:
    """Follows the script in a document's text (how often to fail, how long to take, what to wait for), and counts its calls."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:  # noqa: ARG002
        """Return the one entity of the text."""
        script = json.loads(text)
        calls = _count(config.document_id)
        time.sleep(script["seconds"])
        until = time.monotonic() + WAIT_SECONDS
        while script["wait"] and not (_door() / script["wait"]).exists():
            if time.monotonic() > until:
                raise TimeoutError("the drill has gone")
            time.sleep(0.02)
        if calls <= script["fail"]:
            raise NotReadyError(f"{config.document_id} is not ready")
        name = config.document_id
        entity = Entity(
            id=derived_id("knowledge_entity", config.organization_id, name, name),
            mention=name,
            types=("urn:drill:Thing",),
            mentions=(Mention(text=text[:1], start_char=0, end_char=1),),
        )
        return ExtractionResult(
            graph=KnowledgeGraph(
                entities=(entity,), relations=(), entity_index={name.lower(): entity.id}, stats=GraphStats(entity_count=1)
            ),
            stats=ExtractionStats(chunk_count=1, mention_count=1, entity_count=1),
            config=config,
        )


def extractor() -> DrillExtractor:
    """Return the extractor; the factory that KNOWLEDGE_EXTRACTOR names in a drill."""
    return DrillExtractor()


def document(document_id: str, fail: int = 0, seconds: float = 0.0, wait: str = "") -> dict[str, str]:
    """Return a document whose first ``fail`` attempts fail, and that takes its time or waits for a file at the door."""
    script = json.dumps({"name": document_id, "fail": fail, "seconds": seconds, "wait": wait})
    return {"documentId": document_id, "text": script, "ontologyContent": "none"}


def request(batch_id: str, documents: list[dict[str, str]], concurrency: int = 2) -> dict[str, Any]:
    """Return the request of a drill's batch."""
    # Resolution compares names, which tells a drill nothing.
    config = {"concurrency": concurrency, "enableEntityResolution": False}
    return {"batchId": batch_id, "organizationId": ORGANIZATION, "ontologyId": "drill", "documents": documents, "config": config}


def calls(folder: Path) -> dict[str, int]:
    """Return how often the extractor was called, by document."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".go"}


def _door() -> Path:
    return Path(os.environ[DOOR])


def _count(document_id: str) -> int:
    path = _door() / document_id
    # One byte in append mode is atomic, also between processes.
    with path.open("ab", buffering=0) as door:
        door.write(b".")
    return path.stat().st_size


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main(name: str) -> None:
    """Run batches until stdin is closed."""
    import flows

    stop = Event()

    def listen() -> None:
        sys.stdin.read()
        stop.set()

    Thread(target=listen, daemon=True).start()
    number = 0
    while not stop.wait(REST_SECONDS):
        number += 1
        batch_id = f"{name}-{number}"
        # Every third document is tried twice.
        documents = [
            document(f"{batch_id}-{each}", fail=zlib.crc32(f"{batch_id}{each}".encode()) % 3 == 0, seconds=0.05)
            for each in range(4)
        ]
        _say(batch=batch_id)
        try:
            result = flows.run_batch(request(batch_id, documents))
            _say(ended=batch_id, good=result.success_count == len(documents))
        except Exception as error:
            # What a caller is told instead of a result, which the drill counts.
            _say(ended=batch_id, good=False, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
