"""Every fault of a provider is one request an attempt, of the right class, in both protocols and both runtimes."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fakemodel import FakeModel, Say, Seen, fake_model, text_of
from models.conftest import documents, use

import flows
from compat.contracts import Failure, Success
from compat.store.models import ModelStore

ATTEMPTS = 2


def error(message: str, code: str | None = None, type_: str = "error") -> dict[str, Any]:
    return {"type": "error", "error": {"message": message, "type": type_, "code": code}}


# A whole body in either protocol, but for the answer.
NO_CHOICES = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake-1",
        "choices": [],
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "input_tokens": 0, "output_tokens": 0},
    }
)

# What the server does, the error that the document ends with, the requests that it takes, and the tokens that these report.
FAULTS: dict[str, tuple[Say, str | None, int, int]] = {
    "429": (Say(error("slow down", type_="rate_limit_error"), 429), "ModelRateLimitedError", ATTEMPTS, 0),
    "no quota": (Say(error("no money", "insufficient_quota", "insufficient_quota"), 429), "ModelQuotaError", 1, 0),
    "401": (Say(error("bad key sk-test-0123456789abcdef", type_="authentication_error"), 401), "ModelKeyError", 1, 0),
    "403": (Say(error("not yours", type_="permission_error"), 403), "ModelKeyError", 1, 0),
    "404": (Say(error("no such model", "model_not_found", "not_found_error"), 404), "ModelNotFoundError", 1, 0),
    "400": (Say(error("no such field", type_="invalid_request_error"), 400), "ModelRequestRefusedError", 1, 0),
    "context": (
        Say(error("prompt is too long: 210000 tokens > 200000 maximum", "context_length_exceeded", "invalid_request_error"), 400),
        "ModelContextError",
        1,
        0,
    ),
    "500": (Say(error("broken"), 500), "ModelServerFailedError", ATTEMPTS, 0),
    "503": (Say(error("away"), 503), "ModelServerFailedError", ATTEMPTS, 0),
    "529": (Say(error("overloaded", type_="overloaded_error"), 529), "ModelServerFailedError", ATTEMPTS, 0),
    "hangs": (Say(how="hang"), "ModelTimeoutError", ATTEMPTS, 0),
    "trickles": (Say(how="trickle"), "ModelTimeoutError", ATTEMPTS, 0),
    "reset": (Say(how="reset"), "ModelUnreachableError", ATTEMPTS, 0),
    "cut": (Say(how="cut"), "ModelUnreachableError", ATTEMPTS, 0),
    "no JSON": (Say(raw="hello"), "ModelAnswerError", ATTEMPTS, 0),
    "HTML": (Say(raw="<html><body>Bad gateway</body></html>"), "ModelAnswerError", ATTEMPTS, 0),
    "no choices": (Say(raw=NO_CHOICES), "ModelAnswerError", ATTEMPTS, 0),
    "broken JSON": (Say('{"entities": [{"mention": '), "ModelAnswerError", ATTEMPTS, 120 * ATTEMPTS),
    "prose": (Say("There are two ships."), "ModelAnswerError", ATTEMPTS, 120 * ATTEMPTS),
    "empty": (Say(""), "ModelAnswerError", ATTEMPTS, 120 * ATTEMPTS),
    # At the last attempt it is taken as it comes: nothing found, and that counted.
    "off ontology": (
        Say({"entities": [{"mention": "the Harrier", "type": "spaceship", "name": None}], "relations": []}),
        None,
        ATTEMPTS,
        120 * ATTEMPTS,
    ),
    # The whole, then its first half; then it is known to be too long.
    "length": (Say("{", finish="length"), "ModelAnswerTooLongError", 2, 240),
    "filter": (Say("", finish="content_filter"), "ModelContentFilterError", 1, 120),
}
NAMES = list(FAULTS)


def fault_of(seen: Seen) -> str:
    numbers = [int(number) for number in re.findall(r"Harrier (\d+) ", seen.text)]
    return NAMES[numbers[0] // 10 - 1]


def script(seen: Seen, times: int) -> Say | None:
    fault = fault_of(seen)
    if fault == "no quota" and "anthropic-version" in seen.headers:
        return Say(error("no money", type_="billing_error"), 402)
    return FAULTS[fault][0]


@pytest.mark.parametrize(
    ("mode", "protocol"),
    [
        ("legacy", "openai"),
        ("engine", "anthropic"),
        pytest.param("legacy", "anthropic", marks=pytest.mark.slow),
        pytest.param("engine", "openai", marks=pytest.mark.slow),
    ],
)
def test_every_fault_is_one_request_an_attempt(
    environment: pytest.MonkeyPatch,
    prefect_server: None,
    ledger: Callable[[], ModelStore],
    request_of: Any,
    mode: str,
    protocol: str,
) -> None:
    with fake_model(script) as server:
        use(environment, server, protocol)
        environment.setenv("KNOWLEDGE_LLM_TIMEOUT_SECONDS", "2")
        texts = [text_of(10 * number, 10 * number + 1) for number in range(1, len(NAMES) + 1)]
        config = {"failurePolicy": "retry-failed", "maxRetries": ATTEMPTS - 1, "concurrency": 20}
        result = flows.run_batch(request_of(documents(*texts), "faults", **config), mode)
        requests = Counter(fault_of(seen) for seen in server.seen)
    found: dict[str, tuple[str | None, int, int]] = {}
    tokens: Counter[str] = Counter()
    for call in ledger().calls("faults"):
        tokens[call.document_id] += call.tokens_in + call.tokens_out
    for name, document in zip(NAMES, result.document_results, strict=True):
        failure = document.result.error.partition(":")[0] if isinstance(document.result, Failure) else None
        found[name] = (failure, requests[name], tokens[document.document_id])
        # A key that a provider quotes back is in no error.
        assert "sk-test" not in str(document.result)
    assert found == {name: expected[1:] for name, expected in FAULTS.items()}
    [kept] = [item.result for item in result.document_results if isinstance(item.result, Success)]
    assert kept.extraction.stats.dropped == {"class not in the ontology": 1}


def test_a_model_that_gets_some_things_wrong_keeps_the_rest(model: FakeModel, request_of: Any) -> None:
    text = text_of(1, 2)
    quote = "captain of the Harrier 1 is Ada Lind 1"
    good = {"subject": "Harrier 1", "predicate": "captain", "object": "Ada Lind 1", "quote": quote}
    model.script = lambda seen, times: Say(
        {
            "entities": [
                {"mention": "Harrier 1", "type": "Schooner", "name": None},
                {"mention": "Ada  Lind 1", "type": "person", "name": "Ada Lind 1"},
                {"mention": "Ada Lind 2", "type": "admiral", "name": None},
                {"mention": "Moby Dick", "type": "vessel", "name": None},
                {"mention": 7},
            ],
            "relations": [
                good,
                {**good, "predicate": "commander"},
                {**good, "quote": "she never sank"},
                {**good, "subject": "Ada Lind 1", "object": "Harrier 1"},
                {**good, "object": "Harrier 9"},
            ],
        }
    )
    [document] = flows.run_batch(request_of(documents(text)), "legacy").document_results
    assert isinstance(document.result, Success)
    graph = document.result.extraction.graph
    assert [entity.mention for entity in graph.entities] == ["Harrier 1", "Ada Lind 1"]
    [relation] = graph.relations
    assert relation.evidence is not None
    assert text[relation.evidence.start_char : relation.evidence.end_char] == quote
    assert document.result.extraction.stats.dropped == {
        "breaks domain or range": 1,
        "class not in the ontology": 1,
        "malformed": 1,
        "not in the text": 1,
        "object isn't an entity": 1,
        "property not in the ontology": 1,
        "quote not in the text": 1,
    }


def test_of_half_a_json_the_whole_items_are_kept_and_it_is_not_replayed(
    model: FakeModel, ledger: Callable[[], ModelStore], request_of: Any
) -> None:
    half = '{"entities": [{"mention": "Harrier 1", "type": "vessel", "name": "Harrier 1"}, {"mention": "Ada Li'
    model.script = lambda seen, times: Say(half) if times == 1 else None
    [document] = flows.run_batch(request_of(documents(text_of(1)), "half"), "legacy").document_results
    assert isinstance(document.result, Success)
    assert [entity.mention for entity in document.result.extraction.graph.entities] == ["Harrier 1"]
    assert document.result.extraction.stats.dropped == {"malformed": 1, "the rest of a JSON that breaks off": 1}
    [call] = ledger().calls("half")
    assert (call.outcome, call.reply) == ("partial", half)
    [again] = flows.run_batch(request_of(documents(text_of(1)), "again"), "legacy").document_results
    assert isinstance(again.result, Success)
    assert len(again.result.extraction.graph.entities) == 2
    assert model.requests == 2


def test_a_chunk_whose_answer_is_cut_off_is_read_as_two_halves(model: FakeModel, request_of: Any) -> None:
    model.script = lambda seen, times: Say("{", finish="length") if {"1 ", "4 "} <= set(re.findall(r"\d ", seen.text)) else None
    [document] = flows.run_batch(request_of(documents(text_of(1, 2, 3, 4))), "legacy").document_results
    assert isinstance(document.result, Success)
    assert document.result.extraction.stats.relation_count == 4
    assert model.requests == 3
    flows.run_batch(request_of(documents(text_of(1, 2, 3, 4))), "legacy")
    assert model.requests == 3
