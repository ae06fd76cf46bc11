"""Batches whose extractor asks the tests' own model server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from extraction.ships import SHIPS
from fakemodel import FakeModel, fake_model

from compat.settings import Settings
from compat.store import Store
from compat.store.models import ModelStore


@pytest.fixture
def model(environment: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """A server that answers well until it is told otherwise, and the environment to use it."""
    with fake_model() as server:
        use(environment, server)
        yield server


@pytest.fixture
def ledger(environment: pytest.MonkeyPatch) -> Callable[[], ModelStore]:
    """What is stored of calls."""
    return lambda: ModelStore(Store.from_settings(Settings.load()).database)


def use(environment: pytest.MonkeyPatch, server: FakeModel, protocol: str = "openai") -> None:
    for name, value in server.environment(protocol).items():
        environment.setenv(name, value)


def documents(*texts: str) -> list[dict[str, Any]]:
    return [{"documentId": f"d{number}", "text": text, "ontologyContent": SHIPS} for number, text in enumerate(texts)]
