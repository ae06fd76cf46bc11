"""The engine under watch: its batches and shadows checked as they end, and everything sent to legacy where a trigger fires."""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from compat.cutover import checks, record
from compat.settings import Settings
from compat.store import Store

if TYPE_CHECKING:
    # Comparing loads pandas, which serving a batch never does.
    from compat.parity.report import ParityReport


log = logging.getLogger("knowledge_batch")


def check_engine_batch(store: Store, batch_id: str) -> None:
    """Check a batch that the engine had a hand in, and demote the engine if a trigger fires. Never raises."""
    try:
        if store.has_ended(batch_id):
            checks.check_engine_batch(store, batch_id)
            _demote_if_fired(store)
    except Exception:
        # The batch has ended well, whatever became of its check; `reconcile` makes it up.
        log.warning("batch %s was not checked", batch_id, exc_info=True)


def check_shadow(main: Store, report: "ParityReport") -> None:
    """Note what a shadow found, and demote the engine if it serves and a trigger fires. Never raises."""
    try:
        if checks.engine_serves(main, Settings.load().workflow_mode):
            checks.check_shadow(main.database, report)
            _demote_if_fired(main)
    except Exception:
        log.warning("batch %s: what its shadow found was not noted", report.batch_id, exc_info=True)


def sweep(store: Store) -> None:
    """Check the batches whose process died before it could, and tell Prefect of demotions that it wasn't told of yet."""
    for batch_id in checks.unchecked(store):
        check_engine_batch(store, batch_id)
    tell_demotions(store)


def tell_demotions(store: Store) -> None:
    """Emit ``knowledge.mode.demoted`` for each demotion that Prefect's automations were not told of. Never raises."""
    # Prefect may be what failed; `reconcile` tells it later.
    with suppress(Exception):
        from prefect.events import emit_event

        from flows.engine import batch_flow, publishing

        if not publishing.outlives_process():
            return
        batch_flow.check_api(seconds=1.0)
        for change in record.untold(store.database):
            emit_event(
                event="knowledge.mode.demoted",
                resource={"prefect.resource.id": "knowledge.mode", "prefect.resource.name": "knowledge-batch"},
                payload={"reason": change.reason, "trigger": change.trigger, "by": change.made_by, "details": change.details},
            )
            record.note_told(store.database, change)


def _demote_if_fired(store: Store) -> None:
    firing = checks.demote_if_fired(store)
    if firing is not None:
        in_flight = (
            "legacy takes what the engine has in work" if firing.trigger.hand_over else "the engine ends what it has in work"
        )
        log.error("demoted, every batch goes to legacy: %s; %s", firing.reason, in_flight)
        tell_demotions(store)
