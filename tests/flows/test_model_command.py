"""What the command says of models."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from extraction.ships import SHIPS
from fakemodel import KEY, FakeModel, chunks_of, text_of
from models.conftest import documents, model  # noqa: F401

import flows

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ontology.ttl").write_text(SHIPS, encoding="utf-8")
    lines = [json.dumps({"documentId": f"d{n}", "text": text_of(n)}) for n in range(3)]
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def cells(text: str) -> dict[str, str]:
    return dict(line.strip().split("  ", 1) for line in text.splitlines() if "  " in line.strip())


def test_a_run_says_what_it_asked_and_paid(command: Command, model: FakeModel, source: Path) -> None:  # noqa: F811
    done = command(
        "run", str(source), "--extractor", "llm", "--batch-id", "b", KNOWLEDGE_EXTRACTOR="rules",
        KNOWLEDGE_LLM_PRICE_IN="2", KNOWLEDGE_LLM_PRICE_OUT="10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = {key: value.strip() for key, value in cells(done.stdout).items()}
    assert shown["calls"] == "3 made, 0 answered from the store, 0 refused, 0 failed"
    assert shown["tokens"] == "360 (300 in, of these 0 cached; 60 out)"
    assert shown["paid twice"] == "0"
    assert shown["cost"] == "0.0012"
    assert cells(command("status", "b").stdout)["paid twice"].strip() == "0"
    value = json.loads(command("calls", "b", "--format", "json").stdout)
    assert value["totals"]["made"] == 3
    assert [(call["documentId"], call["outcome"]) for call in sorted(value["calls"], key=lambda call: call["documentId"])] == [
        ("d0", "answered"), ("d1", "answered"), ("d2", "answered"),
    ]  # fmt: skip
    assert "answered" in command("calls", "b").stdout
    assert command("calls", "nowhere").returncode == 5


def test_an_estimate_runs_nothing_and_knows_what_is_answered(command: Command, model: FakeModel, source: Path) -> None:  # noqa: F811
    arguments = ("run", str(source), "--estimate", "--format", "json")
    first = json.loads(command(*arguments, KNOWLEDGE_LLM_PRICE_IN="2", KNOWLEDGE_LLM_PRICE_OUT="10").stdout)
    assert (first["documents"], first["chunks"], first["calls"], first["stored"], model.requests) == (3, 3, 3, 0, 0)
    assert first["cost"] > 0
    assert command("run", str(source)).returncode == 0
    again = json.loads(command(*arguments).stdout)
    assert (again["calls"], again["stored"], again["tokens"], again["cost"], model.requests) == (3, 3, 0, None, 3)
    assert command("run", str(source), "--estimate", "--extractor", "rules").returncode == 2


def test_fresh_asks_again_and_is_not_paid_twice(command: Command, model: FakeModel, source: Path) -> None:  # noqa: F811
    command("run", str(source), "--batch-id", "one")
    done = command("run", str(source), "--batch-id", "two", "--fresh")
    assert (done.returncode, model.requests) == (0, 6)
    assert {key: value.strip() for key, value in cells(done.stdout).items()}["paid twice"] == "0"
    command("run", str(source), "--batch-id", "three")
    assert model.requests == 6


def test_prune_counts_first_and_deletes_when_told(command: Command, model: FakeModel, source: Path) -> None:  # noqa: F811
    command("run", str(source), "--batch-id", "one")
    for age, more, count in (("1d", (), 0), ("0m", (), 3), ("0m", ("--delete",), 3)):
        old = json.loads(command("prune", "--older-than", age, "--format", "json", *more).stdout)["old"]
        assert (old["answers"], old["calls"], old["batches"]) == (count, count, 0)
    command("run", str(source), "--batch-id", "two")
    assert model.requests == 6
    assert command("prune", "--older-than", "soon").returncode == 2


def test_a_key_is_nowhere(command: Command, model: FakeModel, source: Path, tmp_path: Path) -> None:  # noqa: F811
    model.script = lambda seen, times: None
    done = command("run", str(source), "--batch-id", "b")
    assert model.seen[0].headers["authorization"] == f"Bearer {KEY}"
    shown = done.stdout + done.stderr + command("calls", "b", "--format", "json").stdout
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    from compat.settings import Settings
    from tasks.extraction import load_extractor

    held: Any = load_extractor("llm")
    assert KEY not in shown + repr(Settings.load()) + repr(held._client) + repr(held._client._endpoint)
    assert KEY.encode() not in kept


def test_a_long_document_tells_how_far_it_is(model: FakeModel, request_of: Any) -> None:  # noqa: F811
    model.seconds = 0.2
    result = flows.run_batch(request_of(documents(chunks_of(12)), "long", concurrency=2), "legacy")
    assert result.success_count == 1
    told = [event for event in flows.subscribe("long") if type(event).__name__ == "StageProgress"]
    assert [event.stage for event in told] == ["extraction"] * len(told)
    shares = [event.progress for event in told]
    assert 2 <= len(shares) <= 4
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_form_has_the_choice(
    model: FakeModel,  # noqa: F811
    environment: pytest.MonkeyPatch,
    prefect_server: None,
    source: Path,
) -> None:
    from flows import deployed

    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    state = deployed.run_batch(source=str(source), mode="engine", extractor="llm", return_state=True)
    assert state.is_completed(), state.message
    assert model.requests == 3
    assert "llm" in str(deployed.run_batch.parameters.model_dump())
