"""README's examples in Python run as they stand. (The one of a deployment runs on the stack of tests/stack/test_up.py.)"""

import subprocess
import sys
from pathlib import Path

import processes
import pytest
import readme

import flows


@pytest.fixture
def folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What a reader has: an ontology, and letters as a table."""
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    (tmp_path / "ontology.ttl").write_text(
        "@prefix : <urn:x:> . @prefix owl: <http://www.w3.org/2002/07/owl#> .\n"
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        ':Harbour a owl:Class ; rdfs:label "Harbour" .\n'
    )
    (tmp_path / "letters.csv").write_text("id,year,body\n1,1897,The Harbour froze.\n2,1897,Ada left the Harbour.\n")
    return tmp_path


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", readme.example(name)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=processes.environment(PREFECT_HOME=str(folder / "prefect")),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_python(folder: Path) -> None:
    said = run("python", folder).splitlines()
    assert said[0] == "1 True"
    assert "BatchEvent.BatchCreated" in said[1]
    assert "BatchEvent.BatchCompleted" in said[-1]
    assert [batch.mode for batch in flows.list_batches()] == ["engine"]


def test_from_an_event_loop(folder: Path) -> None:
    assert [line.split()[1] for line in run("async", folder).splitlines()] == ["1", "1"]


def test_from_a_source(folder: Path) -> None:
    assert run("source", folder).startswith("2 ")
    assert type(flows.get_status("letters of 1897")).__name__ == "Completed"
