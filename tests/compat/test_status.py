"""The status table: total over what the installed Prefect defines."""

import inspect
import re
from pathlib import Path

import prefect
import prefect.server.schemas.states
import prefect.states
import pytest
from prefect.client.schemas.objects import StateType
from records import record

from compat.errors import InvalidStateTransitionError
from compat.status import CONCURRENCY_REFUSAL, STATUS_OF, RowStatus, check_transition, legacy_status


def constructed_states() -> list[tuple[str, str]]:
    """(type, name) of every state that Prefect has a constructor for, in its client and in its server."""
    found = set()
    for module in (prefect.states, prefect.server.schemas.states):
        for name, build in inspect.getmembers(module, inspect.isfunction):
            # The constructors are the capitalised functions that take the state's class first.
            if name[0].isupper() and next(iter(inspect.signature(build).parameters), None) == "cls":
                arguments = {"timeout_seconds": 1} if name in ("Paused", "Suspended") else {}
                state = build(**arguments)
                found.add((state.type.value, state.name))
    return sorted(found)


def written_names() -> set[str]:
    """State names that Prefect's source gives in passing, such as `Pending(name="NotReady")`."""
    package = Path(prefect.__file__).parent
    call = re.compile(
        r'\b(?:State(?:\[R\])?|Scheduled|Pending|Running|Completed|Failed|Crashed|Cancelled|Paused)\(([^()]|\([^()]*\))*?\bname="(\w+)"'
    )
    return {match.group(2) for file in package.rglob("*.py") for match in call.finditer(file.read_text(encoding="utf-8"))}


def test_the_walk_finds_prefects_states() -> None:
    assert {("SCHEDULED", "AwaitingRetry"), ("PAUSED", "Suspended"), ("CRASHED", "Crashed")} <= set(constructed_states())
    assert {"NotReady", "TimedOut", "RolledBack"} <= written_names()


@pytest.mark.parametrize("name", sorted(written_names()))
def test_every_name_that_prefect_writes_in_passing_is_mapped(name: str) -> None:
    assert name in {known for _, known in STATUS_OF}


@pytest.mark.parametrize("state_type", list(StateType))
def test_every_state_type_is_mapped(state_type: StateType) -> None:
    assert (state_type.value, None) in STATUS_OF
    assert legacy_status(state_type.value, "a name of our own") in list(RowStatus)


@pytest.mark.parametrize(("state_type", "name"), constructed_states())
def test_every_state_that_prefect_names_is_mapped_by_name(state_type: str, name: str) -> None:
    assert (state_type, name) in STATUS_OF


@pytest.mark.parametrize(
    ("state_type", "name", "status"),
    [
        ("COMPLETED", "Parity", "completed"),
        ("COMPLETED", "RolledBack", "failed"),
        ("SCHEDULED", "AwaitingRetry", "running"),
        ("SCHEDULED", "Late", "pending"),
        ("FAILED", "TimedOut", "failed"),
        ("CRASHED", "Crashed", "failed"),
        ("CANCELLING", "Cancelling", "running"),
        ("PAUSED", "Suspended", "running"),
        (StateType.RUNNING, "Retrying", "running"),
    ],
)
def test_states_read_as_old_readers_must_read_them(state_type: str, name: str, status: str) -> None:
    assert legacy_status(state_type, name) == status


def test_a_run_that_a_concurrency_limit_refused_is_not_read_as_cancelled_by_somebody() -> None:
    assert legacy_status("CANCELLED", "Cancelled", CONCURRENCY_REFUSAL) == "failed"
    assert legacy_status("CANCELLED", "Cancelled", "Cancelled by admin") == "cancelled"


def test_an_unknown_type_is_no_guess() -> None:
    with pytest.raises(ValueError, match="STATUS_OF"):
        legacy_status("EXPLODED", "Exploded")


def test_progress_of_an_empty_batch_is_zero() -> None:
    assert record(total_documents=0).state.model_dump() == {
        "_tag": "BatchState.Extracting", "batchId": "b 1", "completedDocuments": 0, "totalDocuments": 0, "progress": 0.0,
    }  # fmt: skip


def test_failed_documents_count_as_finished() -> None:
    state = record(completed_documents=1, failed_documents=2, total_documents=4).state.model_dump()
    assert (state["completedDocuments"], state["progress"]) == (3, 0.75)


@pytest.mark.parametrize("final", ["Completed", "Cancelled"])
@pytest.mark.parametrize("attempted", ["Pending", "Extracting", "Resolving", "Completed", "Failed", "Cancelled"])
def test_completed_and_cancelled_are_final(final: str, attempted: str) -> None:
    with pytest.raises(InvalidStateTransitionError, match=f"is {final} and can't become {attempted}"):
        check_transition("b", final, attempted)


def test_only_a_failed_batch_goes_back_to_pending() -> None:
    check_transition("b", "Failed", "Pending")
    for state in ("Pending", "Extracting", "Resolving"):
        with pytest.raises(InvalidStateTransitionError):
            check_transition("b", state, "Pending")
