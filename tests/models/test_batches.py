"""A batch whose extractor asks a model, in both runtimes."""

from typing import Any

import pytest
from extraction.ships import SHIPS
from fakemodel import fake_model, text_of

import flows
from compat.settings import Settings
from compat.store import Store
from compat.store.models import ModelStore


@pytest.mark.parametrize(("mode", "protocol"), [("legacy", "anthropic"), ("engine", "openai")])
def test_a_batch_is_extracted_and_asked_for_again_costs_nothing(
    environment: pytest.MonkeyPatch, prefect_server: None, request_of: Any, mode: str, protocol: str
) -> None:
    with fake_model() as model:
        for name, value in model.environment(protocol).items():
            environment.setenv(name, value)
        documents = [{"documentId": f"d{n}", "text": text_of(n, n + 100), "ontologyContent": SHIPS} for n in range(4)]
        result = flows.run_batch(request_of(documents, "first"), mode)
        assert (result.success_count, result.entity_count, result.relation_count) == (4, 16, 8)
        assert model.requests == 4
        again = flows.run_batch(request_of(documents, "second"), mode)
        assert again.entity_count == 16
        assert model.requests == 4
        store = ModelStore(Store.from_settings(Settings.load()).database)
        assert (store.totals("first").made, store.totals("second").stored, store.totals("second").made) == (4, 4, 0)
