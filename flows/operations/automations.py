"""What Prefect is to do by itself: say that a batch failed or went back to legacy, and end runs that nobody works on."""

from collections.abc import Sequence
from datetime import timedelta
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
ZOMBIES = "knowledge-batch: a run without a sign of life has crashed"

# Heartbeats that may be missed; a busy machine misses one.
MISSED = 3
# What Prefect's workers use where nothing is set, in seconds.
HEARTBEAT_SECONDS = 180


# What takes a notification away.
NOBODY = "none"


def notify(actions: Sequence[ActionTypes]) -> AutomationCore:
    """Says which batch failed or was rolled back, and why, through a notification block.

    With nothing to do it shows all the same: the event feed has the batch's event and that this automation fired on it. A
    block holds an address that is a secret, so it is the operator's to make.
    """
    silent = all(isinstance(action, DoNothing) for action in actions)
    return AutomationCore(
        name=NOTIFY,
        description="Fires on knowledge.batch.failed and knowledge.batch.rolled_back. "
        + ("Shows in the event feed; to be told, knowledge-batch automations apply --notify BLOCK." if silent else ""),
        trigger=EventTrigger(
            expect={"knowledge.batch.failed", "knowledge.batch.rolled_back"},
            match=ResourceSpecification({"prefect.resource.id": "knowledge.batch.*"}),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=list(actions),
    )


def message(block_id: str) -> SendNotification:
    """What is said through a block."""
    return SendNotification(
        block_document_id=UUID(block_id),
        subject="Batch {{ event.resource['prefect.resource.name'] }}: {{ event.event }}",
        body="{{ event.payload.reason }}\nknowledge-batch status '{{ event.resource['prefect.resource.name'] }}'",
    )


def mark_zombies(heartbeat_seconds: int) -> AutomationCore:
    """Marks a run of ours Crashed that has sent nothing for three heartbeats; ``reconcile`` then ends its batch.

    Any event of the run counts as a sign of life: a list of state names would miss those that we make up.
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
    """Creates the automations, or brings those that are there up to date. Returns their names.

    Args:
        block: A notification block as TYPE/NAME, such as ``slack-webhook/operations``; ``none`` for no notification.
            Without one it stays as it is: whoever applies a release, or starts the stack, needn't know of it.

    Raises:
        InvalidInputError: Prefect has no such block.
        PrefectUnavailableError: Its API is away, or refuses.
    """
    try:
        return _applied(block)
    except (httpx.HTTPError, RuntimeError) as error:
        # Prefect says RuntimeError of an API that nobody answers at.
        raise PrefectUnavailableError(PREFECT_API_URL.value() or "PREFECT_API_URL", f"{type(error).__name__}: {error}") from error


def _applied(block: str | None) -> list[str]:
    with get_client(sync_client=True) as client:
        there = {name: next(iter(client.read_automations_by_name(name)), None) for name in (NOTIFY, ZOMBIES)}
        wanted = [
            notify(_actions(client, block, there[NOTIFY])),
            mark_zombies(PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or HEARTBEAT_SECONDS),
        ]
        for automation in wanted:
            found = there[automation.name]
            if found is None:
                client.create_automation(automation)
            else:
                # One that was switched off on Prefect's page stays so.
                client.update_automation(found.id, automation.model_copy(update={"enabled": found.enabled}))
    return [automation.name for automation in wanted]


def _actions(client: SyncPrefectClient, block: str | None, there: Automation | None) -> list[ActionTypes]:
    if block is None and there is not None:
        return there.actions
    return [DoNothing() if block is None or block == NOBODY else message(_block_id(client, block))]


def _block_id(client: SyncPrefectClient, block: str) -> str:
    kind, _, name = block.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind).id)
    except ObjectNotFound:
        raise InvalidInputError(
            [Problem("--notify", block, "no such block in Prefect; make it on the page Blocks and name it TYPE/NAME")]
        ) from None
