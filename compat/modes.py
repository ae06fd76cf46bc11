"""Which runtime serves a batch, and why. Pure: whoever calls brings the four voices."""

from dataclasses import dataclass
from enum import StrEnum

from compat.errors import InvalidInputError, Problem


class Mode(StrEnum):
    """Who does the work: the old orchestrator, Prefect, or the old one with Prefect compared behind it."""

    LEGACY = "legacy"
    ENGINE = "engine"
    SHADOW = "shadow"


@dataclass(frozen=True)
class Decision:
    """The mode of one batch and the voice that chose it."""

    mode: Mode
    reason: str


def parse_mode(value: str, field: str = "mode") -> Mode:
    """The mode of this name. Raises InvalidInputError that names the field."""
    try:
        return Mode(value)
    except ValueError:
        advice = "is no mode; use " + ", ".join(Mode)
        raise InvalidInputError([Problem(field, value, advice)]) from None


def decide(argument: str | None, environment: str | None, switch: str | None, demotion: str | None) -> Decision:
    """The first voice that speaks: demotion, caller, ``KNOWLEDGE_WORKFLOW_MODE``, stored switch, legacy.

    Every voice is checked even where an earlier one decides: a misspelt switch that nobody hears
    today would surprise on the day the voice before it falls silent.
    """
    voices = (
        (argument, "mode", "asked for by the caller"),
        (environment, "KNOWLEDGE_WORKFLOW_MODE", "set by KNOWLEDGE_WORKFLOW_MODE"),
        (switch, "stored mode", "set by knowledge-batch mode set"),
    )
    spoken = [Decision(parse_mode(value, field), reason) for value, field, reason in voices if value is not None]
    if demotion is not None:
        return Decision(Mode.LEGACY, f"demoted: {demotion}")
    return spoken[0] if spoken else Decision(Mode.LEGACY, "the default")
