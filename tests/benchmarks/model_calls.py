"""What a model call costs beside the model, and how near many documents at a time come to the ideal.

Run: python -m tests.benchmarks model-calls [DOCUMENTS]

A model server in a process of its own answers after 50 ms. First the client alone (pydantic-ai over the provider's SDK) makes as
many calls, 20 at a time: what nobody who uses it goes below. Then batches of one-chunk documents, 20 documents at a time in all,
in one process and shared among two. Prints the processor time a document and the time taken against the ideal, which is that
of answers alone: documents / 20 × 50 ms.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
SECONDS, AT_A_TIME, WARM_UP = 0.05, 20, 20

# Runs the first batch of stdin, says so, and runs the second at a line on stdin.
BATCHES = """
import json, resource, sys, time, flows
flows.run_batch(json.loads(sys.stdin.readline()), "legacy")
print("ready", flush=True)
request = json.loads(sys.stdin.readline())
before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
result = flows.run_batch(request, "legacy")
took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
assert result.success_count == len(request["documents"])
print(json.dumps([took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]), flush=True)
"""


def main(documents: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    server = subprocess.Popen([sys.executable, "-m", "quickmodel", str(SECONDS)], **pipes)
    assert server.stdout
    url = server.stdout.readline().strip() + "/v1"
    environment |= {"KNOWLEDGE_EXTRACTOR": "llm", "KNOWLEDGE_LLM_MODEL": "openai:fake-1", "KNOWLEDGE_LLM_BASE_URL": url}
    ideal = documents / AT_A_TIME * SECONDS
    try:
        took, processor = asyncio.run(client_alone(url, documents))
        show("the client alone", took, processor, documents, ideal)
        for processes in (1, 2):
            environment["KNOWLEDGE_HOME"] = tempfile.mkdtemp(prefix="model-calls-")
            children = [subprocess.Popen([sys.executable, "-c", BATCHES], **pipes) for _ in range(processes)]
            for number, child in enumerate(children):
                ask(child, request(-WARM_UP * (number + 1), WARM_UP, AT_A_TIME))
                assert child.stdout
                assert child.stdout.readline() == "ready\n"
            for number, child in enumerate(children):
                part = documents // processes
                ask(child, request(1 + number * part, part, AT_A_TIME // processes))
            figures = [json.loads(child.communicate()[0]) for child in children]
            took, processor = max(each[0] for each in figures), sum(each[1] for each in figures)
            show(f"batches in {processes} process{'es' * (processes > 1)}", took, processor, documents, ideal)
    finally:
        server.communicate()


def ask(child: "subprocess.Popen[str]", what: object) -> None:
    assert child.stdin
    child.stdin.write(json.dumps(what) + "\n")
    child.stdin.flush()


def request(first: int, count: int, concurrency: int) -> dict[str, object]:
    from extraction.ships import SHIPS
    from fakemodel import text_of

    documents = [
        {"documentId": f"d{n}", "text": text_of(1000 + n), "ontologyContent": SHIPS} for n in range(first, first + count)
    ]
    config = {"concurrency": concurrency, "enableEntityResolution": False}
    return {"organizationId": "org", "ontologyId": "ontology", "documents": documents, "config": config}


async def client_alone(url: str, count: int) -> tuple[float, float]:
    """Return the seconds and the processor's seconds of so many calls, 20 at a time."""
    from extraction.ships import SHIPS
    from fakemodel import text_of

    from tasks.extraction.llm.client import Client, Endpoint
    from tasks.extraction.llm.messages import Asked
    from tasks.extraction.llm.stages import request_of, stages_of
    from tasks.extraction.llm.vocabulary import vocabulary
    from tasks.extraction.llm.wire import Items
    from tasks.extraction.ontology import parse_ontology

    client, ontology, [stage] = Client(Endpoint("openai:fake-1", url, "key")), parse_ontology(SHIPS), stages_of("one")

    async def lane(numbers: Iterator[int]) -> None:
        for n in numbers:
            text = text_of(n)
            await client.ask(
                request_of(stage, text, vocabulary(ontology, text), Asked("openai", "fake-1", stage.name, "0"), Items())
            )

    async def calls(numbers: range) -> None:
        line = iter(numbers)
        await asyncio.gather(*(lane(line) for _ in range(AT_A_TIME)))

    await calls(range(WARM_UP))
    processor, began = time.process_time(), time.monotonic()
    await calls(range(WARM_UP, WARM_UP + count))
    return time.monotonic() - began, time.process_time() - processor


def show(what: str, took: float, processor: float, documents: int, ideal: float) -> None:
    print(f"{what}: {processor / documents * 1000:.1f} ms of the processor a document, {took:.2f} s, {took / ideal:.2f} of ideal")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
