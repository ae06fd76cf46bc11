"""How many calls of one client go out."""

import asyncio
from typing import Any

import pytest
from extraction.ships import SHIPS
from fakemodel import FakeModel, Seen, text_of

from tasks.extraction.llm.client import Client, Endpoint
from tasks.extraction.llm.messages import Asked, Request
from tasks.extraction.llm.stages import request_of, stages_of
from tasks.extraction.llm.vocabulary import vocabulary
from tasks.extraction.llm.wire import Items
from tasks.extraction.ontology import parse_ontology

CALLS = 40


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_of_many_calls_at_once_the_first_is_sent_before_the_last_is_prepared(protocol: str) -> None:
    ontology, [stage] = parse_ontology(SHIPS), stages_of("one")
    prepared = 0
    prepared_at_first = []

    class Prepared(Request):
        def __getattribute__(self, name: str) -> Any:
            nonlocal prepared
            prepared += name == "user"
            return super().__getattribute__(name)

    def script(_seen: Seen, _times: int) -> None:
        prepared_at_first.append(prepared)

    async def ask_all(client: Client, numbers: range) -> None:
        await asyncio.gather(*(client.ask(request(number)) for number in numbers))

    def request(number: int) -> Request:
        text = text_of(number)
        asked = Asked(protocol, "fake-1", stage.name, "0")
        made = request_of(stage, text, vocabulary(ontology, text), asked, Items())
        return Prepared(made.asked, made.system, made.user, made.schema)

    async def measured(server: FakeModel) -> None:
        client = Client(Endpoint(f"{protocol}:fake-1", server.url + ("/v1" if protocol == "openai" else ""), "key"))
        # Connections are there already, as between the calls of a batch.
        await ask_all(client, range(CALLS))
        nonlocal prepared
        prepared = 0
        prepared_at_first.clear()
        await ask_all(client, range(CALLS, 2 * CALLS))

    with FakeModel(script) as server:
        asyncio.run(measured(server))
    assert prepared == CALLS
    assert prepared_at_first[0] < CALLS / 2
