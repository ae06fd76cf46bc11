"""R2: whatever the provider, the client behind a model retries nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from fakemodel import FakeModel, Say, text_of
from models.conftest import documents

import flows
from compat.errors import InvalidInputError
from compat.store import Store
from compat.store.models import ModelStore
from compat.store.models.answers import Turn
from flows.operations.audit import audit_ledger
from tasks.extraction.llm.client import Endpoint, _model


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "ollama:m", "openrouter:openai/m", "deepseek:m", "together:m"])
def test_the_client_behind_a_model_retries_nothing(model: str) -> None:
    made: Any = _model(Endpoint(model, key="key"))
    assert made.client.max_retries == 0


@pytest.mark.parametrize("model", ["bedrock:m", "cohere:m"])
def test_a_provider_whose_client_always_retries_is_refused(model: str) -> None:
    with pytest.raises(InvalidInputError, match="retries by itself"):
        _model(Endpoint(model, key="key"))


def test_the_audit_finds_a_chunk_that_was_asked_about_twice_in_one_attempt(
    model: FakeModel, ledger: Callable[[], ModelStore], request_of: Any
) -> None:
    model.script = lambda seen, times: Say("no", status=500) if times == 1 else None
    flows.run_batch(request_of(documents(text_of(1)), "b"), "legacy")
    assert audit_ledger(Store.from_settings(), "b")[1] == []
    call = next(ledger().calls("b"))
    ledger().record(call, Turn(call.answer_key, "another"))
    [finding] = audit_ledger(Store.from_settings(), "b")[1]
    assert "2 calls for chunk 0, stage extract of attempt 1, where one was due" in str(finding)
