"""The ramp: which share of batches the engine serves, by batch id and by organization. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from compat.errors import InvalidInputError, Problem

# The names of the stored switches: the share of all batches, and of one organization's.
RAMP = "ramp"
OF_ORGANIZATION = "ramp:"
# The steps that `mode promote` takes, in percent.
STEPS = (5.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True)
class Ramp:
    """The share of batches that goes to the engine, in percent.

    Attributes:
        percent: Of every batch whose organization has no share of its own; None where there is no ramp.
        organizations: Of the batches of single organizations, which counts before ``percent``.
    """

    percent: float | None = None
    organizations: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_switches(cls, switches: Mapping[str, str]) -> "Ramp":
        """Return the ramp as it is stored. Raises InvalidInputError for a share that can't be read."""
        shares = {name: parse_percent(value, f"stored {name}") for name, value in switches.items() if name.startswith(RAMP)}
        organizations = {name.removeprefix(OF_ORGANIZATION): share for name, share in shares.items() if name != RAMP}
        return cls(shares.get(RAMP), organizations)

    def __bool__(self) -> bool:
        """Whether there is any share."""
        return self.percent is not None or bool(self.organizations)

    @property
    def serves(self) -> bool:
        """Whether it sends any batch to the engine."""
        return bool(self.percent) or any(self.organizations.values())

    def share_of(self, organization_id: str | None) -> float | None:
        """Return the share of an organization's batches, or None if no ramp covers them."""
        return self.organizations.get(organization_id or "", self.percent)

    def __str__(self) -> str:
        shares = [f"{self.percent:g} % of batches"] if self.percent is not None else []
        shares += [f"{share:g} % of organization {name}" for name, share in sorted(self.organizations.items())]
        return ", ".join(shares)


NO_RAMP = Ramp()


def place_of(batch_id: str) -> float:
    """Return a batch's place on the ramp, from 0 up to 100. It depends on the id alone, not on the share.

    A batch is taken where its place is below the share, so one that is in at 5 % is in at 20 %.
    """
    digest = hashlib.sha256(batch_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7]) / 2**56 * 100


def is_taken(batch_id: str, percent: float) -> bool:
    """Return whether the engine serves a batch at this share."""
    return place_of(batch_id) < percent


def next_step(percent: float) -> float:
    """Return the share that follows this one."""
    return next((step for step in STEPS if step > percent), STEPS[-1])


def parse_percent(value: str | float, field: str = "--percent") -> float:
    """Return a share in percent. Raises InvalidInputError that names the field."""
    try:
        percent = float(value)
    except (TypeError, ValueError, OverflowError):
        percent = -1.0
    if not 0 <= percent <= 100:
        raise InvalidInputError([Problem(field, value, "is not a share; write a number from 0 to 100")])
    return percent
