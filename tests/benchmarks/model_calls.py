"""What a model call costs beside the model, and how near many documents at a time come to the ideal.

Run: python -m tests.benchmarks model-calls [DOCUMENTS [MILLISECONDS ...]]

A model server in a process of its own answers after 50 ms, or after each of the given times. First the client alone (pydantic-ai
over the provider's SDK) makes as many calls, 20 at a time: what nobody who uses it goes below. Then batches of one-chunk
documents, 20 documents at a time in all, in one process and shared among two; then 20 documents of 20 chunks in one process.
Prints the processor time a call and the time taken against the ideal, which is that of answers alone: calls / 20 × 50 ms.
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
AT_A_TIME, WARM_UP = 20, 20
CHUNKS = 20

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


def main(documents: int, seconds: float) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    server = subprocess.Popen([sys.executable, "-m", "quickmodel", str(seconds)], **pipes)
    assert server.stdout
    url = server.stdout.readline().strip() + "/v1"
    environment |= {"KNOWLEDGE_EXTRACTOR": "llm", "KNOWLEDGE_LLM_MODEL": "openai:fake-1", "KNOWLEDGE_LLM_BASE_URL": url}
    print(f"answers after {seconds * 1000:g} ms")
    try:
        took, processor = asyncio.run(client_alone(url, documents))
        show("the client alone", took, processor, documents, seconds)
        for processes in (1, 2):
            took, processor = batches(pipes, documents, processes, chunks=1)
            show(f"batches in {processes} process{'es' * (processes > 1)}", took, processor, documents, seconds)
        took, processor = batches(pipes, AT_A_TIME, 1, CHUNKS)
        show(f"{AT_A_TIME} documents of {CHUNKS} chunks", took, processor, AT_A_TIME * CHUNKS, seconds)
    finally:
        server.communicate()


def batches(pipes: dict[str, Any], documents: int, processes: int, chunks: int) -> tuple[float, float]:
    """Return the seconds of the slowest batch, and the processor's seconds of all of them."""
    pipes["env"]["KNOWLEDGE_HOME"] = tempfile.mkdtemp(prefix="model-calls-")
    children = [subprocess.Popen([sys.executable, "-c", BATCHES], **pipes) for _ in range(processes)]
    for number, child in enumerate(children):
        ask(child, request(-WARM_UP * (number + 1), WARM_UP, AT_A_TIME, 1))
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    part = documents // processes
    for number, child in enumerate(children):
        ask(child, request(1 + number * part, part, AT_A_TIME // processes, chunks))
    figures = [json.loads(child.communicate()[0]) for child in children]
    return max(each[0] for each in figures), sum(each[1] for each in figures)


def ask(child: "subprocess.Popen[str]", what: object) -> None:
    assert child.stdin
    child.stdin.write(json.dumps(what) + "\n")
    child.stdin.flush()


def request(first: int, count: int, concurrency: int, chunks: int) -> dict[str, object]:
    from extraction.ships import SHIPS
    from fakemodel import chunks_of, text_of

    def text(n: int) -> str:
        return text_of(1000 + n) if chunks == 1 else chunks_of(chunks, 1000 + n * chunks)

    documents = [{"documentId": f"d{n}", "text": text(n), "ontologyContent": SHIPS} for n in range(first, first + count)]
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


def show(what: str, took: float, processor: float, calls: int, seconds: float) -> None:
    ratio = took / (calls / AT_A_TIME * seconds)
    print(f"  {what}: {processor / calls * 1000:.1f} ms of the processor a call, {took:.2f} s, {ratio:.2f} of ideal")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    for milliseconds in given[1:] or [50]:
        main(given[0] if given else 1000, milliseconds / 1000)
