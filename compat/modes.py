"""Which runtime serves a batch, and why. Pure: the caller passes every choice that was made."""

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
    """The mode of one batch, and what chose it."""

    mode: Mode
    reason: str


def parse_mode(value: str, field: str = "mode") -> Mode:
    """Return the mode of this name. Raises InvalidInputError that names the field."""
    try:
        return Mode(value)
    except ValueError:
        advice = "is not a valid mode; use " + ", ".join(Mode)
        raise InvalidInputError([Problem(field, value, advice)]) from None


def decide(argument: str | None, environment: str | None, switch: str | None, demotion: str | None) -> Decision:
    """Return the mode by precedence: demotion, caller, ``KNOWLEDGE_WORKFLOW_MODE``, stored switch, legacy.

    Every choice is checked even if one before it decides: a misspelt switch that is overruled today would
    surprise on the day that it isn't.
    """
    choices = (
        (argument, "mode", "asked for by the caller"),
        (environment, "KNOWLEDGE_WORKFLOW_MODE", "set by KNOWLEDGE_WORKFLOW_MODE"),
        (switch, "stored mode", "set by knowledge-batch mode set"),
    )
    made = [Decision(parse_mode(value, field), reason) for value, field, reason in choices if value is not None]
    if demotion is not None:
        return Decision(Mode.LEGACY, f"demoted: {demotion}")
    return made[0] if made else Decision(Mode.LEGACY, "the default")
