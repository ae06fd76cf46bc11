"""The shadow: the engine behind a batch that legacy has served, in a namespace of its own, and what the two have in common."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL
from prefect.states import Completed
from pydantic import Field

from compat import shadows
from compat.contracts import utc_now
from compat.errors import BatchAlreadyRunningError
from compat.modes import Decision, Mode
from compat.parity import archive, gate
from compat.parity.report import ParityReport, Verdict, compare_batch
from compat.parity.versions import versions
from compat.settings import Settings
from compat.store import Store
from flows import batch

# What a person reads in the list of runs.
NAMES: dict[Verdict, str] = {"parity": "Parity", "diverged": "Diverged", "inconclusive": "Inconclusive"}
GATE_NAMES: dict[gate.GateVerdict, str] = {"go": "Go", "no-go": "No-go", "not enough": "Not enough evidence"}


def run_shadow(main: Store, shadow: Store, batch_id: str, channel: batch.Channel) -> ParityReport:
    """Runs the engine on a batch's request in the shadow's namespace, compares, and keeps the report there.

    Raises BatchNotFoundError, BatchAlreadyRunningError where the batch has not ended or has a shadow at work, and
    what the engine's machinery raises: a shadow has no legacy to go back to.
    """
    if not main.has_ended(batch_id):
        raise BatchAlreadyRunningError(batch_id)
    params = main.params(batch_id)
    shadows.clear(shadow, batch_id)
    claim = shadow.claim(params, Decision(Mode.ENGINE, f"the shadow of a batch that legacy served, channel {channel}"))
    assert claim is not None  # noqa: S101 -- its rows were cleared, so nothing of it is completed
    batch.run(claim, channel)
    baseline = archive.newest_baseline(shadow.database, main.ontologies_hash(batch_id)) if channel == "live" else None
    report = compare_batch(main, shadow, batch_id, "live" if channel == "live" else "tape", baseline=baseline)
    archive.save(shadow.database, report)
    return report


@flow(name="shadow-batch", retries=0, flow_run_name=shadows.RUN_NAME, persist_result=False)
def shadow_batch(
    batch_id: Annotated[str, Field(max_length=200)],
    generation: Annotated[int, Field(ge=0)] = 0,
    channel: Literal["tape", "live"] = "tape",
) -> State[Any]:
    """Run the engine on what legacy has served, and compare the two. Nobody but the reports sees it.

    Args:
        batch_id: The batch, as legacy ended it.
        generation: How often the batch had been resumed when this shadow was asked for.
        channel: tape: what legacy's extractor gave is given again, every difference counts. live: the extractor runs again.
    """
    settings = Settings.load()
    main, shadow = Store.from_settings(settings), Store.of_shadows(settings)
    standing = shadows.standing(main.database, batch_id)
    if standing is not None and standing.generation != generation:
        return Completed(name="Superseded", message=f"the batch has been resumed since, as generation {standing.generation}")
    report = run_shadow(main, shadow, batch_id, channel)
    _show(report, shadow)
    return Completed(name=NAMES[report.verdict], message=report.headline)


@flow(name="cutover-gate", retries=0, persist_result=False)
def cutover_gate(min_batches: Annotated[int, Field(ge=1)] = 50, max_age: str = "7d") -> State[Any]:
    """Judge whether the engine may take over, by the reports of the shadow runs so far.

    Args:
        min_batches: How many batches of fresh evidence are wanted for every risk.
        max_age: How old evidence may be, such as 7d or 12h.
    """
    checked = check_cutover(min_batches, gate.parse_age(max_age, "max_age"))
    create_markdown_artifact(checked.to_markdown(), key="cutover-gate", description="Whether the engine may take over.")
    reasons = "; ".join(f"{row.risk} {row.verdict}: {row.reason}" for row in checked.rows)
    return Completed(name=GATE_NAMES[checked.verdict], message=reasons)


def check_cutover(min_batches: int, max_age: timedelta) -> gate.CutoverCheck:
    """The gate's answer to the reports on record."""
    now = utc_now()
    return gate.check(archive.reports(Store.of_shadows().database), now, versions(), min_batches, max_age)


def _show(report: ParityReport, shadow: Store) -> None:
    """What a person sees at the shadow's run, and an event for automations where the two differ."""
    create_markdown_artifact(report.to_markdown(), key="parity", description="Whether the engine agreed with legacy.")
    if report.verdict != "parity":
        create_table_artifact(report.differences_table(), key="parity-differences", description="Where it did not.")
    ui, engine_run = PREFECT_UI_URL.value(), shadow.flow_run_id(report.batch_id)
    if ui and engine_run:
        link = f"{ui}/runs/flow-run/{engine_run}"
        create_link_artifact(link, key="parity-batch", link_text=f"The engine's run of {report.batch_id}")
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
