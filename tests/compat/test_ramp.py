"""Which share of batches the engine serves: always the same ones, more of them at a greater share, by organization too."""

from uuid import uuid4

import pytest

from compat.errors import InvalidInputError
from compat.modes import decide
from compat.modes.ramp import Ramp, is_taken, next_step, parse_percent, place_of

IDS = [f"batch {number}" for number in range(2000)]


def test_a_batch_that_is_in_at_5_percent_is_in_at_20() -> None:
    taken = [{name for name in IDS if is_taken(name, share)} for share in (0, 5, 20, 100)]
    assert taken[0] == set()
    assert taken[1] < taken[2] < taken[3] == set(IDS)


def test_a_share_takes_that_share_whatever_the_ids_look_like() -> None:
    for ids in (IDS, [str(uuid4()) for _ in range(2000)]):
        assert 0.03 < sum(is_taken(name, 5) for name in ids) / len(ids) < 0.07


def test_the_place_of_an_id_never_moves() -> None:
    # Written down: another release or another machine must not deal the batches anew.
    assert [round(place_of(name), 4) for name in ("abc", "\ud800")] == [72.8395, 56.8947]


def test_who_is_taken_goes_to_the_engine_and_the_others_keep_the_stored_mode() -> None:
    inside, outside = (next(name for name in IDS if is_taken(name, 5) is taken) for taken in (True, False))
    ramp = Ramp(5.0)
    assert decide(None, None, "shadow", None, ramp, inside).mode == "engine"
    rest = decide(None, None, "shadow", None, ramp, outside)
    assert (rest.mode, rest.reason.partition(",")[0]) == ("shadow", "not on the ramp: 5 % of batches")
    assert decide("legacy", None, None, None, ramp, inside).mode == "legacy"
    assert decide(None, "legacy", None, None, ramp, inside).mode == "legacy"
    assert decide(None, None, None, "rows differed", ramp, inside).reason == "demoted: rows differed"


def test_an_organizations_own_share_counts_before_everybodys() -> None:
    ramp = Ramp(100.0, {"careful": 0.0})
    assert decide(None, None, None, None, ramp, "b", "anybody").mode == "engine"
    left_out = decide(None, None, "engine", None, ramp, "b", "careful")
    assert left_out.mode == "legacy"
    assert "0 % of organization careful" in left_out.reason
    assert decide(None, None, None, None, Ramp(None, {"bold": 100.0}), "b", "anybody").reason == "the default"


def test_the_steps_go_up_and_end_at_everybody() -> None:
    assert [next_step(share) for share in (0, 5, 7, 20, 50, 100)] == [5, 20, 20, 50, 100, 100]


@pytest.mark.parametrize("value", ["many", "-1", "101", "nan"])
def test_what_is_no_share_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--percent = "):
        parse_percent(value)
