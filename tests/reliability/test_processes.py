"""Extractors in processes of their own: the same outcomes as in threads, and a process that dies costs one attempt."""

from typing import Any

import processes
import psutil
import pytest

import faults
import flows
from compat.errors import InvalidInputError
from compat.store import Store


@pytest.fixture
def in_processes(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    environment.setenv("KNOWLEDGE_RUN_ON", "processes")
    return environment


def extractors_left() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "extractor_process.py" in " ".join(each.cmdline())]


@pytest.mark.usefixtures("prefect_server", "in_processes")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_killed_process_costs_its_document_one_attempt_and_the_others_none(mode: str, request_of: Any) -> None:
    documents = [faults.document("once", fail=1, how="killed"), faults.document("always", fail=faults.ALWAYS, how="killed")]
    documents += [faults.document(f"well {number}") for number in range(4)]
    documents += [
        faults.document("ontology", fail=faults.ALWAYS, how="ontology"),
        faults.document("garbage", fail=1, how="garbage"),
    ]
    result = flows.run_batch(
        request_of(documents, batch_id="apart", concurrency=3, failurePolicy="retry-failed", maxRetries=1), mode
    )
    assert Store.from_settings().batch("apart").mode == mode
    assert faults.knocks() == {"once": 2, "always": 2, **{f"well {n}": 1 for n in range(4)}, "ontology": 1, "garbage": 2}
    failed = {each.document_id: each.result.error for each in result.document_results if not each.result.ok}
    assert failed["always"].startswith("ExtractorProcessDiedError: the process that extracted it ended with 9")
    assert failed["ontology"].startswith("OntologyParseError: ")
    assert set(failed) == {"always", "ontology"}
    assert extractors_left() == []


@pytest.mark.usefixtures("environment")
def test_the_graphs_are_those_of_threads(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    ontology = "@prefix owl: <http://www.w3.org/2002/07/owl#> . <http://e/City> a owl:Class . <http://e/River> a owl:Class ."
    texts = ["Paris is a city. The city lies on the river Seine.", "", "Rome is a city."]
    documents = [{"documentId": f"d{number}", "text": text, "ontologyContent": ontology} for number, text in enumerate(texts)]
    graphs = []
    for where in ("threads", "processes"):
        environment.setenv("KNOWLEDGE_RUN_ON", where)
        result = flows.run_batch(request_of(documents, batch_id=where), "legacy")
        graphs.append([each.result.extraction.graph for each in result.document_results])
    assert graphs[0] == graphs[1]
    assert any(graph.entities for graph in graphs[0])


@pytest.mark.usefixtures("in_processes")
def test_an_extractor_that_needs_the_store_is_refused(in_processes: pytest.MonkeyPatch, request_of: Any) -> None:
    in_processes.setenv("KNOWLEDGE_EXTRACTOR", "llm")
    in_processes.setenv("KNOWLEDGE_LLM_MODEL", "openai:any")
    in_processes.setenv("KNOWLEDGE_LLM_API_KEY", "none")
    with pytest.raises(InvalidInputError, match="KNOWLEDGE_RUN_ON"):
        flows.run_batch(request_of([faults.document("one")]), "legacy")


@pytest.mark.usefixtures("in_processes")
def test_processes_end_with_the_batch_that_was_killed(request_of: Any) -> None:
    import json

    request = request_of([faults.document("held", held=True)], batch_id="killed")
    child = processes.start(processes.RUN, "legacy", request=json.dumps(request))
    processes.wait_until(lambda: "held" in faults.knocks())
    extractors = psutil.Process(child.pid).children()
    assert len(extractors) == 1
    child.kill()
    child.wait()
    # Though its document would be in work for minutes still.
    processes.wait_until(lambda: not extractors[0].is_running())
