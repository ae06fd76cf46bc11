"""The shadow run: the engine repeats a batch that legacy has served, in a namespace of its own, and the two are compared."""

from typing import Annotated, Any, Literal
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL
from prefect.states import Completed
from pydantic import Field

from compat.cutover import record
from compat.errors import (
    BatchAlreadyRunningError,
    BatchInfrastructureError,
    InvalidInputError,
    LeaseLostError,
    PrefectUnavailableError,
)
from compat.modes import Decision, Mode
from compat.parity import archive, gate, grounds, render
from compat.parity.baseline import Subject
from compat.parity.report import Channel, ParityReport, Verdict, compare_batch, engine_failed, no_comparison
from compat.parity.tape import Tape
from compat.parity.versions import extractor_hash, versions
from compat.recording.giving_up import give_up
from compat.settings import Settings
from compat.store import Store, shadow_requests
from flows import watch
from flows.context import BatchContext
from flows.engine import batch_flow as batch
from flows.form import log_in_words
from flows.host import find_host
from flows.shadow.submission import RUN_NAME
from tasks.extraction import load_extractor

# State names in the list of runs.
NAMES: dict[Verdict, str] = {"parity": "Parity", "diverged": "Diverged", "inconclusive": "Inconclusive"}
GATE_NAMES: dict[gate.GateVerdict, str] = {"go": "Go", "no-go": "No-go", "not enough": "Not enough evidence"}


def run_shadow(main: Store, shadow: Store, batch_id: str, channel: Channel) -> ParityReport | None:
    """Run the engine on a batch's request in the shadow namespace, compare, and store the report there.

    Returns:
        The report, which is inconclusive if the batch can't be compared; None if the batch was resumed meanwhile.

    Raises:
        BatchNotFoundError: There is no such batch.
        BatchAlreadyRunningError: The batch has not ended, or another shadow run of it is at work.
        Exception: What the engine raises. It is stored as a divergence, unless Prefect or the store was away or a setting is
            wrong: those say nothing about the engine.
    """
    before = main.batch(batch_id)
    if not before.ended:
        raise BatchAlreadyRunningError(batch_id)
    why_not = grounds.why_not(before)
    report = _compared(main, shadow, batch_id, channel) if why_not is None else no_comparison(main, batch_id, channel, why_not)
    if grounds.is_resumed(main, before):
        return None
    archive.save(shadow.database, report)
    watch.check_shadow(main, report)
    return report


def _compared(main: Store, shadow: Store, batch_id: str, channel: Channel) -> ParityReport:
    settings = Settings.load()
    extractor = Tape(main.database, batch_id, shadow.database) if channel == "tape" else load_extractor(settings.extractor)
    decision = Decision(Mode.ENGINE, f"the shadow of what legacy served, channel {channel}")
    context = BatchContext(batch_id, settings, shadow, extractor, decision, find_host())
    grounds.clear(shadow, batch_id)
    claim = shadow.claim(main.request(batch_id), decision)
    assert claim is not None  # noqa: S101 -- its rows were cleared, so nothing of it is completed
    try:
        batch.run(context, claim, is_shadow=True)
    except LeaseLostError:
        raise
    except (PrefectUnavailableError, BatchInfrastructureError, InvalidInputError) as error:
        # Prefect, the store or a setting is at fault, not the engine.
        give_up(shadow, claim, f"{type(error).__name__}: {error}")
        raise
    except Exception as error:
        give_up(shadow, claim, f"{type(error).__name__}: {error}")
        batch.check_api(Settings.load().prefect_timeout_seconds)
        failed = engine_failed(main, batch_id, channel, error)
        archive.save(shadow.database, failed)
        watch.check_shadow(main, failed)
        raise
    if (ended := grounds.ended_early(shadow, batch_id)) is not None:
        return no_comparison(main, batch_id, channel, f"its shadow did not run to its end: {ended}")
    baseline = None
    if channel == "live":
        policy = main.config(batch_id).failure_policy.value
        code = versions().code + extractor_hash(settings.extractor)
        subject = Subject(main.ontologies_hash(batch_id), policy, settings.extractor, code)
        baseline = archive.newest_baseline(shadow.database, subject)
    return compare_batch(main, shadow, batch_id, channel, baseline=baseline)


@flow(name="shadow-batch", retries=0, flow_run_name=RUN_NAME, persist_result=False)
def shadow_batch(
    batch_id: Annotated[str, Field(max_length=200)],
    generation: Annotated[int, Field(ge=0)] = 0,
    channel: Literal["tape", "live"] = "tape",
) -> State[Any]:
    """Run the engine on a batch that legacy has served, and compare the two. Only the reports show it.

    Args:
        batch_id: The batch, as legacy ended it.
        generation: How often the batch had been resumed when this shadow was asked for.
        channel: tape: replays what legacy's extractor returned, and every difference counts. live: calls the extractor again.
    """
    log_in_words()
    settings = Settings.load()
    main, shadow = Store.from_settings(settings), Store.of_shadows(settings)
    request = shadow_requests.find(main.database, batch_id)
    if request is not None and request.generation != generation:
        return Completed(name="Superseded", message=f"the batch has been resumed since, as generation {request.generation}")
    report = run_shadow(main, shadow, batch_id, channel)
    if report is None:
        return Completed(name="Superseded", message="the batch was resumed while its shadow was at work")
    _show(report, main)
    return Completed(name=NAMES[report.verdict], message=report.headline)


@flow(name="cutover-gate", retries=0, persist_result=False)
def cutover_gate(min_batches: Annotated[int, Field(ge=1)] = 50, max_age: str = "7d") -> State[Any]:
    """Judge whether the engine may take over, by the reports of the shadow runs so far.

    Args:
        min_batches: How many batches of fresh evidence are wanted for every risk.
        max_age: How old evidence may be, such as 7d or 12h.
    """
    log_in_words()
    main, shadow = Store.from_settings(), Store.of_shadows()
    age, since = gate.parse_age(max_age, "max_age"), record.evidence_since(main.database)
    checked = archive.judged(main.database, shadow.database, min_batches, age, since)
    create_markdown_artifact(checked.to_markdown(), key="cutover-gate", description="Whether the engine may take over.")
    reasons = [f"{row.risk} {row.verdict}: {row.reason}" for row in checked.rows] + list(checked.missing)
    return Completed(name=GATE_NAMES[checked.verdict], message="; ".join(reasons))


def _show(report: ParityReport, main: Store) -> None:
    """Publish the report at the shadow's run, and an event for automations if the two differ."""
    # In the log, which is the first thing that the run's page shows.
    log = get_run_logger()
    (log.info if report.verdict == "parity" else log.warning)("%s: %s", report.verdict.capitalize(), report.headline)
    create_markdown_artifact(render.markdown(report), key="parity", description="Whether the engine agreed with legacy.")
    if report.verdict != "parity":
        create_table_artifact(render.differences(report), key="parity-differences", description="Where it did not.")
    served_by, engine_run = main.batch(report.batch_id).flow_run_id, _engine_run()
    if PREFECT_UI_URL.value() and (shown := served_by or engine_run):
        # A batch whose caller has nothing to do with Prefect has no page there but its shadow's.
        told = f"{report.batch_id}, as it was served" if served_by else f"The engine's run of {report.batch_id}"
        create_link_artifact(
            f"{PREFECT_UI_URL.value()}/runs/flow-run/{shown}", key="parity-batch", link_text=told, description=told
        )
    if report.verdict == "diverged":
        emit_event(
            event="knowledge.parity.diverged",
            resource={
                "prefect.resource.id": f"knowledge.batch.{report.batch_id}",
                "prefect.resource.name": report.batch_id,
            },
            payload={
                "headline": report.headline,
                "counts": dict(report.counts),
                "channel": report.channel,
                "shadowRun": str(flow_run.get_id()),
            },
        )


def _engine_run() -> str | None:
    """Return the flow run of the engine within this one."""
    here = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(str(flow_run.get_id()))]))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=here, limit=1)
    return str(found[0].id) if found else None
