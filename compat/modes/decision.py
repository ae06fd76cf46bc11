"""Which runtime serves a batch, and why. Pure: the caller passes every choice that was made."""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from compat.errors import InvalidInputError, Problem
from compat.modes.ramp import NO_RAMP, Ramp, is_taken, place_of


class Mode(StrEnum):
    """Who does the work: the old orchestrator, Prefect, or the old one, with Prefect repeating and comparing it afterwards."""

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
        close = get_close_matches(value, list(Mode), 1) if isinstance(value, str) else []
        advice = f"is not a valid mode; {f'did you mean {close[0]}? ' if close else ''}use " + ", ".join(Mode)
        raise InvalidInputError([Problem(field, value, advice)]) from None


def decide(
    argument: str | None,
    environment: str | None,
    switch: str | None,
    demotion: str | None,
    ramp: Ramp = NO_RAMP,
    batch_id: str | None = None,
    organization_id: str | None = None,
) -> Decision:
    """Return the mode by precedence: demotion, caller, ``KNOWLEDGE_WORKFLOW_MODE``, ramp, stored switch, legacy.

    The ramp has a say where a batch is named, by its id and its organization.

    A demotion moves whatever would go to the engine. A batch for which shadow mode was chosen keeps it: legacy serves that
    one anyway, and its shadow is the fresh evidence that going back needs.

    Every choice is checked even if one before it decides: a misspelt switch that is overruled today would
    surprise on the day that it isn't.
    """
    choices = (
        (argument, "mode", "asked for by the caller"),
        (environment, "KNOWLEDGE_WORKFLOW_MODE", "set by KNOWLEDGE_WORKFLOW_MODE"),
        (switch, "stored mode", "set by knowledge-batch mode set"),
    )
    made = [Decision(parse_mode(value, field), reason) for value, field, reason in choices if value is not None]
    chosen = made[0] if made else Decision(Mode.LEGACY, "the default")
    if argument is None and environment is None and batch_id is not None:
        chosen = _on_ramp(ramp, batch_id, organization_id, chosen)
    if demotion is not None:
        return Decision(Mode.SHADOW if chosen.mode == Mode.SHADOW else Mode.LEGACY, f"demoted: {demotion}")
    return chosen


def _on_ramp(ramp: Ramp, batch_id: str, organization_id: str | None, rest: Decision) -> Decision:
    """Return the mode of a batch by the ramp; ``rest`` is that of batches which it doesn't take."""
    share = ramp.share_of(organization_id)
    if share is None:
        return rest
    whose = f"organization {organization_id}" if organization_id in ramp.organizations else "batches"
    where = f"{share:g} % of {whose}, this one is at {place_of(batch_id):.2f} %"
    if is_taken(batch_id, share):
        return Decision(Mode.ENGINE, f"on the ramp: {where}")
    # The stored mode may be engine where an organization was left out of it.
    mode = Mode.LEGACY if rest.mode == Mode.ENGINE else rest.mode
    return Decision(mode, f"not on the ramp: {where}")
