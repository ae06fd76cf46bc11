"""Order, places and rounds of lanes, by random scripts of failures, without Prefect and without a store."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.recording.recorder import Outcome
from tasks.lanes import DocumentsFailedError, DocumentsUnfinishedError, Lane, Lanes, LanesClosedError, Places, Rounds

BUDGET = 4


class Ledger:
    """Attempts by script: a document fails as often as its number says, 4 times is for good."""

    def __init__(self, failures: Mapping[str, int], budget: int = BUDGET) -> None:
        self.failures = failures
        self.budget = budget
        self.attempts: Counter[str] = Counter()
        self.starts: list[tuple[str, int]] = []
        # The most documents that were in work at once, and that were in work or waited for their next attempt.
        self.most_in_work = 0
        self.most_in_places = 0
        self._in_work: set[str] = set()
        self._in_places: set[str] = set()
        self._lock = threading.Lock()

    def start(self, document_id: str) -> None:
        with self._lock:
            assert document_id not in self._in_work, "one document in two lanes"
            self._in_work.add(document_id)
            self._in_places.add(document_id)
            self.most_in_work = max(self.most_in_work, len(self._in_work))
            self.most_in_places = max(self.most_in_places, len(self._in_places))
            self.starts.append((document_id, self.attempts[document_id] + 1))

    def end(self, document_id: str) -> Outcome:
        time.sleep(0)
        with self._lock:
            self._in_work.remove(document_id)
            self.attempts[document_id] += 1
            succeeds = self.attempts[document_id] > self.failures[document_id]
            if not succeeds and self.attempts[document_id] < self.budget:
                return "unfinished"
            self._in_places.remove(document_id)
            return "succeeded" if succeeds else "failed"


def run(lanes: Lanes, places: int, ledger: Ledger, retries: int, dies: Callable[[str], bool] = lambda _: False) -> int:
    """As the flow does: lanes in threads, retried while they ask for it, further ones behind those that end. How many ran."""
    ended: SimpleQueue[Lane] = SimpleQueue()

    def begin(lane: Lane, ahead: bool) -> str | None:
        with lanes.in_order:
            document_id = lanes.take(lane, ahead)
            if document_id is not None:
                ledger.start(document_id)
            return document_id

    def body(lane: Lane) -> None:
        document_id = begin(lane, ahead=False)
        while document_id is not None:
            if dies(document_id):
                raise SystemExit
            outcome = ledger.end(document_id)
            following = begin(lane, ahead=True) if outcome == "succeeded" else None
            lanes.settle(lane, document_id, outcome)
            document_id = following or begin(lane, ahead=False)
        lanes.rest(lane)

    def with_retries(lane: Lane) -> None:
        try:
            for _ in range(1 + retries):
                try:
                    body(lane)
                    return
                except DocumentsUnfinishedError:
                    continue
                except (DocumentsFailedError, LanesClosedError, SystemExit):
                    return
            pytest.fail(f"{lane.name} wants more than {retries} retries")
        finally:
            lanes.leave(lane)
            ended.put(lane)

    with ThreadPoolExecutor(places or 1) as pool:
        futures = [pool.submit(with_retries, Lane(lanes, place + 1, places)) for place in range(places)]
        at_work = places
        while at_work:
            lane = ended.get(timeout=processes.PATIENCE)
            at_work -= 1
            if lanes.wants_lane:
                at_work += 1
                futures.append(pool.submit(with_retries, Lane(lanes, lane.place, places)))
    for future in futures:
        future.result()
    return len(futures)


scripts = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4]), min_size=1, max_size=60).map(
    lambda failures: {f"d{number:02}": failure for number, failure in enumerate(failures)}
)
# No deadline: threads on a busy machine take what they take.
sometimes = settings(max_examples=60, deadline=None)


@sometimes
@given(scripts, st.integers(1, 20))
def test_places_keep_request_order_and_a_lane_for_each_document_in_trouble(script: dict[str, int], concurrency: int) -> None:
    ledger, places = Ledger(script), min(concurrency, len(script))
    lanes_run = run(Places(script), places, ledger, retries=BUDGET - 1)
    assert [document for document, attempt in ledger.starts if attempt == 1] == list(script)
    assert ledger.attempts == {document: min(failures + 1, BUDGET) for document, failures in script.items()}
    assert ledger.most_in_places <= places
    assert lanes_run <= places + sum(failures > 0 for failures in script.values())


@sometimes
@given(scripts)
def test_one_place_works_on_one_document_to_its_end_before_the_next(script: dict[str, int]) -> None:
    ledger = Ledger(script)
    run(Places(script, ends_at_failure=True), 1, ledger, retries=BUDGET - 1)
    wanted: list[tuple[str, int]] = []
    for document, failures in script.items():
        wanted += [(document, attempt) for attempt in range(1, min(failures + 1, BUDGET) + 1)]
        if failures >= BUDGET:
            break
    assert ledger.starts == wanted


@sometimes
@given(scripts, st.integers(1, 20), st.data())
def test_a_round_begins_once_every_document_has_as_many_attempts(
    script: dict[str, int], concurrency: int, data: st.DataObject
) -> None:
    # Also of a batch that has gone on elsewhere before, where documents have attempts already.
    made = {document: data.draw(st.integers(0, min(failures, BUDGET - 1))) for document, failures in script.items()}
    ledger, places = Ledger(script), min(concurrency, len(script))
    ledger.attempts.update(made)
    lanes_run = run(Rounds(made), places, ledger, retries=BUDGET - 1)
    assert lanes_run == places
    order = {document: number for number, document in enumerate(script)}
    keys = [(attempt, order[document]) for document, attempt in ledger.starts]
    assert keys == sorted(keys), "a later round, or a later document, before an earlier one"
    assert ledger.attempts == {document: max(made[document], min(failures + 1, BUDGET)) for document, failures in script.items()}
    assert ledger.most_in_work <= places


def test_a_thousand_rounds_of_one_document_end() -> None:
    ledger = Ledger({"a": 1000, "b": 0, "c": 0}, budget=1001)
    run(Rounds(dict.fromkeys("abc", 0)), 3, ledger, retries=1000)
    assert ledger.attempts == {"a": 1001, "b": 1, "c": 1}


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_body_that_dies_costs_only_the_document_in_its_hands(concurrency: int) -> None:
    script = {f"d{number}": 1 for number in range(20)}
    ledger = Ledger(script)
    run(Rounds(dict.fromkeys(script, 0)), concurrency, ledger, retries=3, dies=lambda document: document == "d3")
    if concurrency == 1:
        # Nobody is left; what is missing shows.
        assert set(ledger.attempts) == {"d0", "d1", "d2"}
    else:
        assert ledger.attempts == {document: 2 for document in script if document != "d3"}
    assert [document for document, _ in ledger.starts].count("d3") == 1


def test_closing_ends_lanes_that_wait_rather_than_letting_them_go_on() -> None:
    rounds = Rounds({"a": 0, "b": 0})
    waiting, working = Lane(rounds, 1, 2), Lane(rounds, 2, 2)
    assert (rounds.take(waiting), rounds.take(working)) == ("a", "b")
    rounds.settle(waiting, "a", "unfinished")
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(rounds.rest, waiting)
        rounds.close()
        with pytest.raises(LanesClosedError):
            rest.result(timeout=processes.PATIENCE)
    rounds.settle(working, "b", "unfinished")
    with pytest.raises(LanesClosedError):
        rounds.take(working)


@pytest.mark.parametrize("lanes", [Places("abc"), Rounds(dict.fromkeys("abc", 0))], ids=["places", "rounds"])
def test_a_stop_empties_the_line(lanes: Lanes) -> None:
    lane = Lane(lanes, 1, 1)
    assert lanes.take(lane) == "a"
    lanes.settle(lane, "a", "stopped")
    assert lanes.take(lane) is None
    lanes.rest(lane)
    assert not lanes.wants_lane


@pytest.mark.parametrize("lanes", [Places("abc"), Rounds(dict.fromkeys("abc", 0))], ids=["places", "rounds"])
def test_a_document_taken_ahead_is_the_next_one_again_where_the_one_before_did_not_succeed(lanes: Lanes) -> None:
    lane, other = Lane(lanes, 1, 2), Lane(lanes, 2, 2)
    assert [lanes.take(lane), lanes.take(lane, True)] == ["a", "b"]
    lanes.put_back(lane, "b")
    lanes.settle(lane, "a", "failed")
    assert [lanes.take(other), lanes.take(other)] == ["b", "c"]


def test_a_place_takes_nothing_ahead_as_long_as_its_document_waits_for_another_attempt() -> None:
    lanes = Places("ab")
    lane = Lane(lanes, 1, 1)
    assert lanes.take(lane) == "a"
    with pytest.raises(DocumentsUnfinishedError):
        lanes.settle(lane, "a", "unfinished")
    assert [lanes.take(lane, True), lanes.take(lane)] == [None, "a"]
