"""Changes of who serves: each one write, with its record of who made it, when, and on what it was decided."""

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from compat.contracts import utc_now
from compat.ids import new_id
from compat.modes import Mode, parse_mode
from compat.modes.ramp import OF_ORGANIZATION, RAMP, parse_percent
from compat.store.database import Database
from compat.store.schema import IN_FLIGHT, CutoverRecord, Switch
from compat.store.sql import insert_if_new, upsert

Action = Literal["set", "promote", "demote", "restore", "drill"]
# Those that change who serves; a drill is on record and changes nothing.
CHANGING: tuple[Action, ...] = ("set", "promote", "demote", "restore")
# The names of the stored switches beside those of the ramp.
MODE = "mode"
DEMOTION = "demotion"
HAND_OVER = "hand over"


@dataclass(frozen=True)
class Change:
    """One change of who serves, as it is kept.

    Attributes:
        action: What was done.
        mode: The mode that was set, where one was.
        percent: The share of batches that it was set for; None for all.
        organization: Whose batches; None for everybody's.
        reason: Why, as a person or a trigger says it.
        trigger: The trigger that fired; None where a person acted.
        is_override: Whether a person went past the gate.
        details: What it was decided on: the gate's answer, or the batches that fired the trigger.
        made_by: Who.
        created_at: When.
        record_id: The record's id.
    """

    action: Action
    mode: str | None = None
    percent: float | None = None
    organization: str | None = None
    reason: str | None = None
    trigger: str | None = None
    is_override: bool = False
    details: Mapping[str, Any] | None = None
    made_by: str = ""
    created_at: datetime | None = None
    record_id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON's types."""
        moment = self.created_at.isoformat() if self.created_at else None
        return {**vars(self), "details": dict(self.details) if self.details else None, "created_at": moment}

    def __str__(self) -> str:
        if self.action == "drill" and self.details:
            end = "no batch lost, none served twice" if self.details["is_good"] else "failed"
            return f"drill: {end}; to legacy in {self.details['seconds_to_legacy']:.2f} s; this service was not touched"
        mode = "" if self.mode is None else f" {self.mode}"
        share = "" if self.percent is None else f" for {self.percent:g} % of batches"
        whose = "" if self.organization is None else f" of organization {self.organization}"
        if self.mode == Mode.LEGACY and self.percent == 0 and self.organization is not None:
            # The engine's share is what is stored; a reader would take it for legacy's.
            share, whose = "", f" for organization {self.organization}"
        past = " past the gate" if self.is_override else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.action}{mode}{share}{whose}{past}{why}"


def operator() -> str:
    """Return who acts: the user and the machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return f"unknown@{socket.gethostname()}"


def set_mode(
    database: Database,
    mode: str | None,
    percent: float | None = None,
    organization: str | None = None,
    action: Action = "set",
    reason: str | None = None,
    is_override: bool = False,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Store the mode of the next batches, of all or of a share; None takes the mode and every ramp away.

    A share changes the ramp alone: batches that it doesn't take keep the mode that was stored before, so shadow mode goes on
    gathering evidence beside it. A mode for everybody ends every ramp.
    """
    if mode is not None:
        parse_mode(mode)
    if percent is not None:
        parse_percent(percent)
    change = Change(action, mode, percent, organization, reason, None, is_override, details)
    with database.write() as connection:
        if organization is not None:
            _put(connection, OF_ORGANIZATION + organization, f"{percent:g}")
        elif percent is not None:
            _put(connection, RAMP, f"{percent:g}")
            if _switch(connection, MODE) == Mode.ENGINE:
                # The rest would go to the engine as well.
                _put(connection, MODE, Mode.LEGACY.value)
        else:
            connection.execute(delete(Switch).where(Switch.name.startswith(RAMP, autoescape=True)))
            _put(connection, MODE, mode)
        _keep(connection, change)


def demote(
    database: Database,
    reason: str,
    trigger: str | None = None,
    details: Mapping[str, Any] | None = None,
    hand_over: bool = False,
) -> bool:
    """Send every batch to legacy. Return whether this call did it: of many processes that find the same, one does.

    Args:
        database: Where the switches are.
        reason: Why; it is kept with every batch that goes to legacy for it.
        trigger: The trigger that fired. Where a person demotes, None: their reason replaces one that is there.
        details: The batches that fired it.
        hand_over: Whether legacy takes the batches that the engine has in work, at their next heartbeat; else they are
            drained: the engine finishes them.
    """
    with database.write() as connection:
        row = {"name": DEMOTION, "value": reason, "updated_at": utc_now()}
        if trigger is None:
            upsert(connection, Switch, row)
        elif not insert_if_new(connection, Switch, row):
            return False
        _put(connection, IN_FLIGHT, HAND_OVER if hand_over else None)
        _keep(connection, Change("demote", Mode.LEGACY, None, None, reason, trigger, False, details))
    return True


def restore(database: Database, reason: str, is_override: bool = False, details: Mapping[str, Any] | None = None) -> bool:
    """End a demotion: callers, environments, ramp and stored mode decide again. Return whether there was one."""
    with database.write() as connection:
        if _switch(connection, DEMOTION) is None:
            return False
        _put(connection, DEMOTION, None)
        _put(connection, IN_FLIGHT, None)
        _keep(connection, Change("restore", None, None, None, reason, None, is_override, details))
    return True


def keep(database: Database, change: Change) -> None:
    """Keep a record that changes nothing, such as a drill's."""
    with database.write() as connection:
        _keep(connection, change)


def changes(database: Database, limit: int | None = None, *actions: Action) -> list[Change]:
    """Return the records, the newest first; where actions are named, only theirs."""
    query = select(CutoverRecord).order_by(CutoverRecord.created_at.desc(), CutoverRecord.id).limit(limit)
    if actions:
        query = query.where(CutoverRecord.action.in_(actions))
    with database.read() as connection:
        return [_change(row) for row in connection.execute(query)]


def untold(database: Database) -> list[Change]:
    """Return the demotions that Prefect's automations have not been told of, the oldest first."""
    query = select(CutoverRecord).where(CutoverRecord.action == "demote", CutoverRecord.told_at.is_(None))
    with database.read() as connection:
        return [_change(row) for row in connection.execute(query.order_by(CutoverRecord.created_at))]


def note_told(database: Database, change: Change) -> None:
    """Keep that the automations were told of a demotion."""
    with database.write() as connection:
        connection.execute(update(CutoverRecord).where(CutoverRecord.id == change.record_id).values(told_at=utc_now()))


def evidence_since(database: Database) -> datetime | None:
    """Return since when evidence counts: since the last demotion, after which the engine has to prove itself again."""
    found = changes(database, 1, "demote")
    return found[0].created_at if found else None


def _put(connection: Connection, name: str, value: str | None) -> None:
    if value is None:
        connection.execute(delete(Switch).where(Switch.name == name))
    else:
        upsert(connection, Switch, {"name": name, "value": value, "updated_at": utc_now()})


def _switch(connection: Connection, name: str) -> str | None:
    return connection.execute(select(Switch.value).where(Switch.name == name)).scalar()


def _keep(connection: Connection, change: Change) -> None:
    row = {
        "id": new_id("knowledge_cutover_record"),
        "action": change.action,
        "mode": change.mode,
        "percent": change.percent,
        "organization": change.organization,
        "reason": change.reason,
        "trigger": change.trigger,
        "is_override": change.is_override,
        "made_by": change.made_by or operator(),
        "details": dict(change.details) if change.details is not None else None,
        "created_at": change.created_at or utc_now(),
    }
    connection.execute(insert(CutoverRecord).values(row))


def _change(row: Any) -> Change:
    return Change(
        row.action,
        row.mode,
        row.percent,
        row.organization,
        row.reason,
        row.trigger,
        row.is_override,
        row.details,
        row.made_by,
        row.created_at,
        row.id,
    )
