"""The ramp as operators move it: stored for every process, refused without a go, each change on record with who and why."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import faults
import flows
from compat.cutover import record
from compat.errors import InvalidInputError
from compat.modes.ramp import is_taken
from compat.store import Store
from flows.command.cutover.modes import CutoverRefusedError, mode_app

Run = Callable[..., str]


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    """Runs `knowledge-batch mode …` in this process and returns what it printed. Raises what it raises."""

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(mode_app, list(arguments))
        if done.exception is not None:
            raise done.exception
        return str(done.stdout)

    return invoke


def ids(percent: float, count: int = 3) -> list[str]:
    """Batch ids that the ramp takes at this share."""
    names = (f"batch {number}" for number in range(10_000))
    return [name for name in names if is_taken(name, percent)][:count]


def test_the_ramp_is_shown_and_stands_at_each_batch(run: Run, nobody_submits: None, request_of: Any) -> None:
    run("set", "shadow")
    assert (
        run("set", "engine", "--percent", "5") == "shadow (set by knowledge-batch mode set)\nramp to the engine: 5 % of batches\n"
    )
    taken, *_ = ids(5)
    assert run("show", taken).startswith("engine (on the ramp: 5 % of batches, this one is at ")
    run("set", "engine", "--percent", "0")
    flows.run_batch(request_of([faults.document("a")], taken))
    served = Store.from_settings().batch(taken)
    assert served.mode == "shadow"
    assert served.mode_reason.startswith("not on the ramp: 0 % of batches")


def test_one_organization_goes_ahead_or_stays_behind(run: Run, request_of: Any) -> None:
    assert "100 % of organization org" in run("set", "engine", "--organization", "org")
    assert run("show", "b", "--organization", "org").startswith("engine (on the ramp: 100 % of organization org")
    assert run("show", "b", "--organization", "other").startswith("legacy (the default)")
    run("set", "legacy", "--organization", "org")
    flows.run_batch(request_of([faults.document("a")], "b"))
    assert "not on the ramp: 0 % of organization org" in Store.from_settings().batch("b").mode_reason
    # Of a stored batch its row says whose it is.
    assert "0 % of organization org" in flows.current_mode(batch_id="b").reason


def test_a_mode_for_everybody_ends_every_ramp(run: Run) -> None:
    run("set", "engine", "--percent", "50")
    run("set", "engine", "--organization", "org")
    assert run("set", "legacy") == "legacy (set by knowledge-batch mode set)\n"
    # Less than all of the engine leaves the rest to legacy.
    run("set", "engine")
    assert run("set", "engine", "--percent", "20").startswith("legacy (set by")


def test_promoting_needs_a_go_or_a_reason_that_is_kept(run: Run) -> None:
    with pytest.raises(
        CutoverRefusedError, match=r"R1, R2, R3, R4, R7 not enough: 50 more batches wanted.*--override REASON"
    ) as refused:
        run("promote")
    assert refused.value.exit_code == 2
    assert Store.from_settings().switches() == {}
    assert "5 % of batches" in run("promote", "--override", "the pilot was agreed")
    assert "20 % of batches" in run("promote", "--override", "so was this")
    assert run("promote", "--percent", "100", "--override", "and all").startswith("engine (set by")
    newest, *_, oldest = record.changes(Store.from_settings().database)
    assert (newest.percent, oldest.percent, oldest.reason) == (None, 5.0, "the pilot was agreed")
    assert (oldest.is_override, oldest.made_by) == (True, record.operator())
    assert oldest.details is not None
    assert oldest.details["verdict"] == "not enough"
    assert "promote engine for 5 % of batches past the gate: the pilot was agreed" in run("history")


def test_the_record_says_whose_batches_stay_behind_and_what_a_drill_came_to(run: Run) -> None:
    run("set", "legacy", "--organization", "careful")
    drilled = {"is_good": True, "seconds_to_legacy": 4.5}
    record.keep(Store.from_settings().database, record.Change("drill", details=drilled))
    history = run("history")
    assert "set legacy for organization careful" in history
    assert "drill: no batch lost, none served twice; to legacy in 4.50 s; this service was not touched" in history
    # A drill changes nobody's mode, so it isn't the last change.
    last = CliRunner().invoke(mode_app, ["show"]).stderr
    assert last.startswith("last change: set legacy for organization careful; by ")


def test_going_back_after_a_demotion_needs_evidence_that_is_younger(run: Run) -> None:
    run("set", "engine")
    run("demote", "rows differed")
    with pytest.raises(CutoverRefusedError, match="evidence counts since the demotion of"):
        run("restore", "--reason", "mended")
    with pytest.raises(InvalidInputError, match="end the demotion first"):
        run("promote", "--override", "now")
    assert run("restore", "--reason", "it was a drill", "--override").startswith("engine (set by")
    assert [change.action for change in record.changes(Store.from_settings().database)] == ["restore", "demote", "set"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["set", "legacy", "--percent", "5"], "--percent = 5.0"),
        (["set", "engine", "--percent", "101"], "--percent = 101.0"),
        (["set", "shadow", "--organization", "o"], "--organization = 'o'"),
        (["promote", "--override", " "], "--override = ' '"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(run: Run, arguments: list[str], named: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        run(*arguments)
    assert str(refused.value).startswith(named)
