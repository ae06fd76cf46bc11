"""Prefect's automations: they report batches that failed or were rolled back and demotions, and end runs that nobody works on."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from compat.errors import InvalidInputError, PrefectUnavailableError, Problem

NOTIFY = "knowledge-batch: a batch failed or was rolled back"
DEMOTED = "knowledge-batch: the engine was demoted, every batch goes to legacy"
ZOMBIES = "knowledge-batch: a run without a sign of life has crashed"

# Heartbeats that may be missed; a busy machine misses one.
MISSED = 3
# The default of Prefect's workers, in seconds.
HEARTBEAT_SECONDS = 180


# The value of --notify that removes the notification.
NOBODY = "none"


def notify(actions: Sequence[ActionTypes]) -> AutomationCore:
    """Return the automation that reports a batch that failed or was rolled back, and why, through a notification block.

    Without an action it still shows in the event feed that it fired. A block holds a secret address, so the operator
    makes it.
    """
    silent = all(isinstance(action, DoNothing) for action in actions)
    return AutomationCore(
        name=NOTIFY,
        description="Fires on knowledge.batch.failed and knowledge.batch.rolled_back. "
        + (
            "Only shows in the event feed; for a notification run: knowledge-batch automations apply --notify BLOCK."
            if silent
            else ""
        ),
        trigger=EventTrigger(
            expect={"knowledge.batch.failed", "knowledge.batch.rolled_back"},
            match=ResourceSpecification({"prefect.resource.id": "knowledge.batch.*"}),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=list(actions),
    )


def notify_demoted(actions: Sequence[ActionTypes]) -> AutomationCore:
    """Return the automation that reports that the engine was demoted, by a person or by itself, through the same block."""
    return AutomationCore(
        name=DEMOTED,
        description="Fires on knowledge.mode.demoted. knowledge-batch mode history says what fired it.",
        trigger=EventTrigger(
            expect={"knowledge.mode.demoted"},
            match=ResourceSpecification({"prefect.resource.id": "knowledge.mode"}),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=list(actions),
    )


def demotion_message(block_id: str) -> SendNotification:
    """Return the message that a block sends of a demotion."""
    return SendNotification(
        block_document_id=UUID(block_id),
        subject="knowledge-batch: the engine was demoted",
        body="{{ event.payload.reason }}\nknowledge-batch mode history",
    )


def message(block_id: str) -> SendNotification:
    """Return the message that a block sends."""
    return SendNotification(
        block_document_id=UUID(block_id),
        subject="Batch {{ event.resource['prefect.resource.name'] }}: {{ event.event }}",
        body="{{ event.payload.reason }}\nknowledge-batch status '{{ event.resource['prefect.resource.name'] }}'",
    )


def mark_zombies(heartbeat_seconds: int) -> AutomationCore:
    """Return the automation that marks a run as Crashed after three missed heartbeats; ``reconcile`` then ends its batch.

    Any event of the run counts as a sign of life, since a list of state names would miss our own.
    """
    return AutomationCore(
        name=ZOMBIES,
        description=f"Fires {MISSED * heartbeat_seconds} s after a run's last heartbeat, unless its state has changed since.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            # Others may use the same server.
            match_related=ResourceSpecification(
                {"prefect.resource.id": "prefect.tag.knowledge-batch", "prefect.resource.role": "tag"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=MISSED * heartbeat_seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"No heartbeat for {MISSED * heartbeat_seconds} s")],
    )


def apply(block: str | None = None) -> list[str]:
    """Create the automations or bring existing ones up to date, and return their names.

    Args:
        block: A notification block as TYPE/NAME, such as ``slack-webhook/operations``; ``none`` for no notification.
            Without it, the notification stays as it is, so that a release or the stack doesn't change it.

    Raises:
        InvalidInputError: Prefect has no such block.
        PrefectUnavailableError: Prefect's API doesn't answer, or refuses.
    """
    try:
        return _applied(block)
    except (httpx.HTTPError, RuntimeError) as error:
        # Prefect raises RuntimeError if nobody answers at the API's address.
        raise PrefectUnavailableError(PREFECT_API_URL.value() or "PREFECT_API_URL", f"{type(error).__name__}: {error}") from error


def _applied(block: str | None) -> list[str]:
    with get_client(sync_client=True) as client:
        there = {name: next(iter(client.read_automations_by_name(name)), None) for name in (NOTIFY, DEMOTED, ZOMBIES)}
        wanted = [
            notify(_actions(client, block, there[NOTIFY], message)),
            notify_demoted(_actions(client, block, there[DEMOTED], demotion_message)),
            mark_zombies(PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or HEARTBEAT_SECONDS),
        ]
        for automation in wanted:
            found = there[automation.name]
            if found is None:
                client.create_automation(automation)
            else:
                # An automation that was switched off on Prefect's page stays off.
                client.update_automation(found.id, automation.model_copy(update={"enabled": found.enabled}))
    return [automation.name for automation in wanted]


def _actions(
    client: SyncPrefectClient, block: str | None, there: Automation | None, message: Callable[[str], SendNotification]
) -> list[ActionTypes]:
    if block is None and there is not None:
        # Prefect 3.9 reads actions that it doesn't know as ones of another type.
        kept: list[Any] = list(there.actions)
        return kept
    return [DoNothing() if block is None or block == NOBODY else message(_block_id(client, block))]


def _block_id(client: SyncPrefectClient, block: str) -> str:
    kind, _, name = block.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind).id)
    except ObjectNotFound:
        raise InvalidInputError(
            [Problem("--notify", block, "Prefect has no such block; create it on the page Blocks and name it as TYPE/NAME")]
        ) from None
