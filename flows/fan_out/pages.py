"""A fan-out as people see it: rows for the terminal, JSON, and the summary on Prefect's page."""

import hashlib
import logging
import shlex
from typing import Any

from compat import fan_outs
from compat.fan_outs import WAITING, FanOut, Part, Standing
from compat.markdown import escaped
from compat.status import RowStatus
from compat.store import Store

log = logging.getLogger("knowledge_batch")

# Batches that are listed one by one.
MOST = 20
# Prefect may take so long to take the summary, in seconds.
CALL_SECONDS = 3.0


def facts(standing: Standing) -> dict[str, str]:
    """Return where a fan-out stands, as names and texts."""
    seconds = _seconds(standing)
    done, failed = standing.count("completed_documents"), standing.count("failed_documents")
    counted = ", ".join(f"{count:,} {status}" for status, count in standing.batches.most_common())
    found = {
        "fan-out": standing.fan_out.id,
        "status": standing.status,
        "batches": f"{len(standing.parts):,}: {counted}" if standing.parts else "0",
        "documents": f"{done + failed:,} of {standing.total_documents:,} ({done:,} extracted, {failed:,} failed)",
        "entities": f"{standing.count('entity_count'):,} in documents",
        "relations": f"{standing.count('relation_count'):,}",
        "time": f"{seconds:.1f} s",
    }
    if standing.fan_out.batch_count is None:
        found["batches"] += "; its source was not read to the end"
    return found


def next_command(standing: Standing) -> str:
    """Return the command to go on with."""
    quoted = shlex.quote(standing.fan_out.id)
    if standing.fan_out.batch_count is None:
        return f"knowledge-batch fan-out SOURCE --fan-out-id {quoted}"
    if standing.status == RowStatus.COMPLETED:
        return f"knowledge-batch view {quoted}"
    if standing.batches[RowStatus.FAILED] and not standing.fan_out.is_cancelled:
        return f"knowledge-batch resume {quoted}"
    return f"knowledge-batch status {quoted}"


def unfinished(standing: Standing) -> list[Part]:
    """Return the batches that haven't completed, those first that failed or run."""
    order = [RowStatus.FAILED, RowStatus.CANCELLED, RowStatus.RUNNING, WAITING]
    parts = [part for part in standing.parts if part.status != RowStatus.COMPLETED]
    return sorted(parts, key=lambda part: (order.index(part.status), part.number))


def line(part: Part) -> str:
    """Return a batch in a line."""
    batch = part.batch
    done = 0 if batch is None else batch.finished_documents
    why = "" if batch is None or part.status != RowStatus.FAILED else f": {batch.interrupted if batch.dead else batch.error}"
    return f"{part.number} {part.batch_id}: {done:,} of {part.documents:,} documents{why}"


def as_json(standing: Standing) -> dict[str, Any]:
    """Return where a fan-out stands as JSON, with every batch that hasn't completed."""
    return {
        "fanOutId": standing.fan_out.id,
        "status": standing.status,
        "totalBatches": len(standing.parts),
        "batches": dict(sorted(standing.batches.items())),
        "totalDocuments": standing.total_documents,
        "completedDocuments": standing.count("completed_documents"),
        "failedDocuments": standing.count("failed_documents"),
        "entityCount": standing.count("entity_count"),
        "relationCount": standing.count("relation_count"),
        "seconds": round(_seconds(standing), 1),
        "unfinished": [
            {"number": part.number, "batchId": part.batch_id, "status": part.status, "flowRunId": part.flow_run_id}
            for part in unfinished(standing)
        ],
    }


def summary(standing: Standing) -> str:
    """Return where a fan-out stands in Markdown, for Prefect's page."""
    rows = [f"| {name} | {escaped(text)} |" for name, text in facts(standing).items()]
    listed = unfinished(standing)
    lines = [f"## Fan-out {escaped(standing.fan_out.id)}: {standing.status}", "", rows[0], "|---|---|", *rows[1:]]
    if listed:
        more = [f"- … and {len(listed) - MOST:,} more"] if len(listed) > MOST else []
        lines += ["", *(f"- {part.status}: {escaped(line(part))}" for part in listed[:MOST]), *more]
    return "\n".join([*lines, "", "Go on with:", "", "```sh", next_command(standing), "```"])


def publish(store: Store, fan_out: FanOut) -> None:
    """Publish where a fan-out stands, under one key of its own, at the flow run that this is called in. Never raises."""
    try:
        from uuid import UUID

        from prefect.client.orchestration import get_client
        from prefect.client.schemas.actions import ArtifactCreate
        from prefect.runtime import flow_run
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        artifact = ArtifactCreate(
            type="markdown",
            key=artifact_key(fan_out.id),
            description="Where the fan-out of this batch stands.",
            data=summary(fan_outs.standing(store, fan_out)),
            flow_run_id=UUID(flow_run.get_id()),
        )
        once = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
        with once, get_client(httpx_settings={"timeout": CALL_SECONDS}, sync_client=True) as client:
            client.create_artifact(artifact)
    except Exception:
        # The batch has ended well; the rows say where its fan-out stands.
        log.debug("fan-out %s is not published in Prefect", fan_out.id, exc_info=True)


def artifact_key(fan_out_id: str) -> str:
    """Return the key of a fan-out's summary; Prefect takes lower-case letters, digits and dashes."""
    return f"fan-out-{hashlib.sha256(fan_out_id.encode()).hexdigest()[:12]}"


def _seconds(standing: Standing) -> float:
    """Return the time from the start of the first batch to the end of the last, or until now."""
    batches = [part.batch for part in standing.parts if part.batch is not None and part.batch.started_at is not None]
    if not batches:
        return 0.0
    first = min(batch.started_at for batch in batches if batch.started_at is not None)
    return max((batch.completed_at or batch.read_at) - first for batch in batches).total_seconds()
