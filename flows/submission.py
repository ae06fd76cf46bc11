"""How a batch in shadow mode gets its shadow: a process of its own submits it, and can neither hold up nor fail the caller."""

import logging
import subprocess
import sys
import threading
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from compat import shadows
from compat.contracts import Cancelled
from compat.settings import Settings
from compat.store import Store

log = logging.getLogger("knowledge_batch")

DEPLOYMENT = "shadow-batch/shadow"
# How long Prefect may take to answer the submitting process, in seconds. Nobody waits for it.
API_SECONDS = 60.0
# Too many requests, bad gateway, unavailable (Prefect's word for a locked SQLite), gateway timeout.
BUSY = (429, 502, 503, 504)


def request(store: Store, batch_id: str, generation: int) -> None:
    """Starts the process that submits the shadow, and returns at once. Never raises; `reconcile` makes up for what fails here."""
    command = [sys.executable, "-m", "flows.submission", batch_id, str(generation)]
    try:
        # Importing Prefect takes a second and its API may hang: neither is for the caller to wait for.
        # A session of its own: what ends the caller (Ctrl-C) must not end the submission.
        child = subprocess.Popen(  # noqa: S603 -- our own interpreter
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        # Waited for, so that a long-lived caller gathers no zombies.
        threading.Thread(target=child.wait, name=f"shadow of {batch_id}", daemon=True).start()
    except (OSError, RuntimeError) as error:
        log.warning("batch %s: its shadow was not submitted: %s", batch_id, error)
        _note(store, batch_id, generation, f"no process to submit it could be started: {error}")


def submit(store: Store, batch_id: str, generation: int) -> None:
    """Submits the shadow of an ended batch as a tagged deployment run, and keeps how it went."""
    if isinstance(store.state(batch_id), Cancelled):
        _note(store, batch_id, generation, "the batch was cancelled: what it left undone is no ground for comparison")
        return
    try:
        flow_run_id = _submitted(batch_id, generation, store.config(batch_id).failure_policy)
    except Exception as error:
        # Whatever Prefect did not like: the batch stands, and its record says why it has no shadow.
        log.warning("batch %s: no shadow: %s: %s", batch_id, type(error).__name__, error)
        status = "requested" if _will_pass(error) else "refused"
        _note(store, batch_id, generation, f"{type(error).__name__}: {error}", status)
        return
    shadows.note(store.database, batch_id, generation, "submitted", None, flow_run_id)


def submit_waiting(store: Store) -> list[str]:
    """Submits the shadows that are still wished for: of callers that ended, or to whom Prefect was away or too busy.

    Returns the batches whose wish is settled. Where Prefect is still too busy, the rest waits for the next time.
    """
    settled: list[str] = []
    for each in shadows.waiting(store.database):
        submit(store, each.batch_id, each.generation)
        found = shadows.standing(store.database, each.batch_id)
        if found is not None and found.status == "requested":
            break
        settled.append(each.batch_id)
    return settled


class ShadowRefusedError(Exception):
    """Prefect answered, and not with the run that was asked for."""


def _submitted(batch_id: str, generation: int, policy: str) -> str:
    from prefect.deployments import run_deployment
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, temporary_settings

    if not PREFECT_API_URL.value():
        raise ShadowRefusedError("no PREFECT_API_URL: a shadow wants a server that stays, such as `knowledge-batch up` starts")
    with temporary_settings({PREFECT_API_REQUEST_TIMEOUT: API_SECONDS}):
        # Any: the type allows for a coroutine, which a caller without an event loop never gets.
        run: Any = run_deployment(
            DEPLOYMENT,
            parameters={"batch_id": batch_id, "generation": generation},
            timeout=0,
            as_subflow=False,
            tags=["shadow", f"batch:{batch_id}", f"policy:{policy}"],
            idempotency_key=f"shadow:{batch_id}:{generation}",
            flow_run_name=shadows.RUN_NAME.format(batch_id=batch_id),
        )
    # A key that was used before brings back its first run, whatever was asked for now.
    if run.parameters.get("batch_id") != batch_id or run.parameters.get("generation") != generation:
        raise ShadowRefusedError(f"flow run {run.id} has this batch's key and other parameters: {run.parameters}")
    return str(run.id)


def _will_pass(error: Exception) -> bool:
    """Whether the same request may be taken later: nobody answered, or one who is too busy now."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in BUSY
    return isinstance(error, httpx.TransportError)


def _note(store: Store, batch_id: str, generation: int, reason: str, status: str = "refused") -> None:
    try:
        shadows.note(store.database, batch_id, generation, status, reason)
    except SQLAlchemyError:
        log.exception("batch %s: why it has no shadow was not stored: %s", batch_id, reason)


if __name__ == "__main__":
    submit(Store.from_settings(Settings.load()), sys.argv[1], int(sys.argv[2]))
