"""Calls share transactions with the store: none waits for another one's turn, and none answers for another one."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from compat.errors import StoreUnavailableError
from compat.store import Store
from compat.store.models import ModelStore
from compat.store.models.answers import Answer, Turn
from compat.store.models.exchange import MadeCall, Question
from compat.store.models.ledger import Call
from compat.store.models.limits import Limits
from tasks.extraction.llm.loop import Transactions


def question(key: str, holder: str = "h", since: float = 0.0, limit_key: str | None = None) -> Question:
    return Question(key, "openai:m", "b", holder, since, limit_key)


def call(key: str) -> Call:
    return Call("b", "d", 0, 1, "0", "extract", "openai:m", key, "answered")


@pytest.fixture
def store(environment: pytest.MonkeyPatch) -> ModelStore:
    return ModelStore(Store.from_settings().database)


def test_calls_that_come_while_a_transaction_is_under_way_share_the_next_one() -> None:
    sizes: list[int] = []
    open_ = threading.Event()

    def transact(items: list[int]) -> list[int]:
        sizes.append(len(items))
        assert open_.wait(30)
        return [item * 10 for item in items]

    async def all_of_them() -> list[int]:
        transactions = Transactions(transact)
        calls = [asyncio.ensure_future(transactions.do(0))]
        while not sizes:
            await asyncio.sleep(0.001)
        calls += [asyncio.ensure_future(transactions.do(number)) for number in range(1, 20)]
        await asyncio.sleep(0)
        open_.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(all_of_them()) == [number * 10 for number in range(20)]
    assert sizes == [1, 19]


def test_what_the_database_refuses_is_refused_alone() -> None:
    def transact(items: list[int]) -> list[int]:
        if 3 in items:
            raise ValueError("not 3")
        return items

    async def all_of_them() -> list[int | BaseException]:
        transactions = Transactions(transact)
        return await asyncio.gather(*map(transactions.do, range(6)), return_exceptions=True)

    results = asyncio.run(all_of_them())
    assert str(results.pop(3)) == "not 3"
    assert results == [0, 1, 2, 4, 5]


def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    asked: list[int] = []

    def transact(items: list[int]) -> list[int]:
        asked.append(len(items))
        raise StoreUnavailableError("gone")

    async def all_of_them() -> list[int | BaseException]:
        transactions = Transactions(transact)
        return await asyncio.gather(*map(transactions.do, range(6)), return_exceptions=True)

    assert all(isinstance(each, StoreUnavailableError) for each in asyncio.run(all_of_them()))
    assert asked == [6]


def test_a_call_whose_task_is_cancelled_is_written_all_the_same() -> None:
    written: list[int] = []
    open_ = threading.Event()

    def transact(items: list[int]) -> list[int]:
        assert open_.wait(30)
        written.extend(items)
        return items

    async def cancelled() -> None:
        task = asyncio.ensure_future(Transactions(transact).do(7))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        open_.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert written == [7]


def test_of_two_who_ask_the_same_in_one_transaction_one_gets_the_turn(store: ModelStore) -> None:
    first, second = store.exchange([question("k"), question("k")])
    assert isinstance(first, Turn)
    assert second is None
    # Given back, it is a row without an answer: the same holds.
    store.give_back(first)
    first, second = store.exchange([question("k"), question("k")])
    assert isinstance(first, Turn)
    assert second is None


def test_a_call_and_a_question_for_its_answer_meet_in_one_transaction(store: ModelStore) -> None:
    turn = store.ask(question("k"))
    assert isinstance(turn, Turn)
    answer = Answer("{}", 3, 4)
    assert store.exchange([question("k"), MadeCall(call("k"), turn, answer), question("other")])[:2] == [answer, None]
    # One from before the moment from which answers count is asked for anew.
    assert isinstance(store.ask(question("k", since=4e9)), Turn)


def test_a_run_that_took_the_batch_over_waits_for_no_turn_of_the_one_before(store: ModelStore) -> None:
    assert isinstance(store.ask(question("k", "dead")), Turn)
    assert store.ask(question("k", "dead")) is None
    assert isinstance(store.ask(question("k", "living")), Turn)


def test_a_turn_says_that_the_provider_wants_to_be_left_alone(store: ModelStore) -> None:
    store.pause(Limits("provider"), 20)
    [paused, other] = store.exchange([question("a", limit_key="provider"), question("b", limit_key="another")])
    assert isinstance(paused, Turn)
    assert isinstance(other, Turn)
    assert 15 < paused.pause <= 20
    assert other.pause == 0


def test_transactions_about_the_same_answers_never_wait_for_each_other_for_ever(store: ModelStore) -> None:
    keys = [f"k{number}" for number in range(12)]

    def work(part: int) -> None:
        in_order = keys if part % 2 else keys[::-1]
        for _ in range(12):
            got = store.exchange([question(key, f"h{part}") for key in in_order])
            turns = [each for each in got if isinstance(each, Turn)]
            store.renew([turn.token for turn in turns])
            store.record_stored([call(key) for key in in_order])
            store.exchange([MadeCall(call(turn.key), turn) for turn in turns])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4
