"""Who decides the mode, and in which order."""

import pytest

from compat.errors import InvalidInputError
from compat.modes import Mode, decide


@pytest.mark.parametrize(
    ("argument", "environment", "switch", "demotion", "mode", "reason"),
    [
        (None, None, None, None, "legacy", "the default"),
        (None, None, "engine", None, "engine", "mode set"),
        (None, "legacy", "engine", None, "legacy", "KNOWLEDGE_WORKFLOW_MODE"),
        ("engine", "legacy", "legacy", None, "engine", "caller"),
        ("engine", "engine", "engine", "rows differed", "legacy", "rows differed"),
        # Legacy serves that one anyway, and going back needs its evidence.
        ("shadow", None, "engine", "rows differed", "shadow", "rows differed"),
    ],
)
def test_the_first_voice_decides(
    argument: str | None, environment: str | None, switch: str | None, demotion: str | None, mode: str, reason: str
) -> None:
    decision = decide(argument, environment, switch, demotion)
    assert decision.mode == Mode(mode)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("voices", "field"),
    [
        (("enigne", None, None), "mode"),
        ((None, "enigne", None), "KNOWLEDGE_WORKFLOW_MODE"),
        (("legacy", None, "enigne"), "stored mode"),
    ],
)
def test_an_unknown_mode_is_refused_by_the_name_of_its_voice(
    voices: tuple[str | None, str | None, str | None], field: str
) -> None:
    with pytest.raises(
        InvalidInputError, match=rf"^{field} = 'enigne': is not a valid mode; did you mean engine\? use legacy, engine, shadow"
    ):
        decide(*voices, demotion=None)
