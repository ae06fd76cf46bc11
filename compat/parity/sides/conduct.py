"""How a side worked through its batch: steps collected block by block as numbers, and judged at the end."""

from collections.abc import Callable
from datetime import UTC, datetime

from compat.parity.sides import work
from compat.parity.sides.work import Limits, Steps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Conduct:
    """The steps of one side by its activity rows, beside those by its events."""

    def __init__(self, limits: Limits, backwards: str | None, told: Steps, name: Callable[[int], str]) -> None:
        """Judge the side by its events.

        Args:
            limits: What the contract allows the batch.
            backwards: The first event that is earlier than the one before it.
            told: The steps that the events tell of; they are not kept.
            name: Returns the document at a position. It is asked for a breach alone, so it may take a while.
        """
        self._limits = limits
        self._name = name
        self._attempts = Steps()
        self._breaches: dict[str, str | None] = {"timestamps": backwards, **self._schedule("events", told)}

    def attempt(self, position: int | None, started: datetime | None, ended: datetime | None) -> None:
        """Note an activity row. Rows of unknown documents or without times are reported elsewhere."""
        if position is None or started is None or ended is None:
            return
        self._attempts.add("start", position, _microseconds(started))
        self._attempts.add("end", position, _microseconds(ended), at_once=ended == started)

    def breaches(self) -> dict[str, str]:
        """Return each rule that was broken, with the first case of it."""
        found = {
            **self._breaches,
            **self._schedule("attempts", self._attempts),
            "use_of_places": work.use_of_places(self._attempts, self._limits),
            "waits": work.waits(self._attempts, self._limits, self._name),
        }
        return {rule: text for rule, text in found.items() if text is not None}

    def _schedule(self, source: str, steps: Steps) -> dict[str, str]:
        return {f"{rule}_by_{source}": text for rule, text in work.schedule(steps, self._limits, self._name).items()}


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * work.MICROSECONDS + since.microseconds
