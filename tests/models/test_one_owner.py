"""R2: whatever the provider, the client behind a model retries nothing."""

from typing import Any

import pytest

from compat.errors import InvalidInputError
from tasks.extraction.llm.client import Endpoint, _model


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "ollama:m", "openrouter:openai/m", "deepseek:m", "together:m"])
def test_the_client_behind_a_model_retries_nothing(model: str) -> None:
    made: Any = _model(Endpoint(model, key="key"))
    assert made.client.max_retries == 0


@pytest.mark.parametrize("model", ["bedrock:m", "cohere:m"])
def test_a_provider_whose_client_always_retries_is_refused(model: str) -> None:
    with pytest.raises(InvalidInputError, match="retries by itself"):
        _model(Endpoint(model, key="key"))
