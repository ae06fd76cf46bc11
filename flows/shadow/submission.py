"""Submitting shadow runs, in a process of their own that can neither delay nor fail the caller."""

import logging
import subprocess
import sys
from functools import partial
from threading import BoundedSemaphore, Event, Thread
from typing import Any

from compat.errors import Infrastructure
from compat.parity import grounds
from compat.settings import Settings
from compat.store import Store, shadow_requests

log = logging.getLogger("knowledge_batch")

DEPLOYMENT = "shadow-batch/shadow"
# The name of a shadow's flow run. "<batch> (shadow)" is legacy's run, whose mode is shadow.
RUN_NAME = "shadow of {batch_id}"
# How long Prefect may take to answer the submitting process, in seconds. Nobody waits for it.
API_SECONDS = 15.0
# Processes that submit for this one at a time; each has Prefect loaded.
SLOTS = 4
_FREE = BoundedSemaphore(SLOTS)
# Too many requests, bad gateway, unavailable (Prefect's word for a locked SQLite), gateway timeout.
BUSY = (429, 502, 503, 504)


def request(store: Store, batch_id: str, generation: int) -> None:
    """Have a process submit the shadow run, and return at once. Never raises; `reconcile` resubmits what fails here.

    If Prefect hangs, at most ``SLOTS`` processes wait for it; further requests wait for a free slot.
    """
    is_on_its_way = Event()
    try:
        submit_apart = partial(_submit_apart, store, batch_id, generation, is_on_its_way)
        Thread(target=submit_apart, name=f"shadow of {batch_id}", daemon=True).start()
    except Exception as error:
        # The machine may be out of threads. The batch itself has ended well: its caller gets no error.
        _not_started(store, batch_id, generation, error)
    else:
        # If a slot is free, the process has started before this returns, and goes on if the caller ends now.
        is_on_its_way.wait()


def _submit_apart(store: Store, batch_id: str, generation: int, is_on_its_way: Event) -> None:
    """Submit in a process, so that the caller waits neither for Prefect's import, which takes a second, nor for its API."""
    if not _FREE.acquire(blocking=False):
        is_on_its_way.set()
        _FREE.acquire()
    try:
        # At the end it is waited for, since a long-lived caller would collect zombies.
        with subprocess.Popen(  # noqa: S603 -- our own interpreter
            # -P: a folder `flows` where the caller stands would hide ours.
            [sys.executable, "-P", "-m", "flows.shadow.submission", batch_id, str(generation)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What ends the caller (Ctrl-C) must not end the submission.
            start_new_session=True,
        ):
            is_on_its_way.set()
    except Exception as error:
        _not_started(store, batch_id, generation, error)
    finally:
        is_on_its_way.set()
        _FREE.release()


def _not_started(store: Store, batch_id: str, generation: int, error: Exception) -> None:
    log.warning("batch %s: its shadow was not submitted: %s", batch_id, error)
    _note(store, batch_id, generation, f"no process to submit it could be started: {type(error).__name__}: {error}")


def submit(store: Store, batch_id: str, generation: int) -> None:
    """Submit the shadow of an ended batch as a tagged deployment run, and record how it went."""
    why_not = grounds.why_not(store.batch(batch_id))
    if why_not is not None:
        _note(store, batch_id, generation, why_not)
        return
    try:
        flow_run_id = _submitted(batch_id, generation, store.config(batch_id).failure_policy)
    except Exception as error:
        # The batch itself has ended well. Its record says why it has no shadow.
        log.warning("batch %s: no shadow: %s: %s", batch_id, type(error).__name__, error)
        status = "requested" if _will_pass(error) else "refused"
        _note(store, batch_id, generation, f"{type(error).__name__}: {error}", status)
        return
    shadow_requests.record(store.database, batch_id, generation, "submitted", None, flow_run_id)


def submit_waiting(store: Store) -> list[str]:
    """Resubmit the shadow requests whose submitter died, or whom Prefect didn't answer or was too busy for.

    Return the batches whose request is settled. If Prefect is still too busy, the rest waits for the next time.
    """
    settled: list[str] = []
    for each in shadow_requests.waiting(store.database):
        submit(store, each.batch_id, each.generation)
        found = shadow_requests.find(store.database, each.batch_id)
        if found is not None and found.status == "requested":
            break
        settled.append(each.batch_id)
    return settled


class ShadowRefusedError(Exception):
    """Prefect answered, but not with the run that was requested."""


def _submitted(batch_id: str, generation: int, policy: str) -> str:
    from prefect.deployments import run_deployment
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    if not PREFECT_API_URL.value():
        raise ShadowRefusedError(
            "no PREFECT_API_URL: a shadow run needs a Prefect server, such as the one of `knowledge-batch up`"
        )
    # Tried once: if nobody answers, the request stays and `reconcile` resubmits it.
    with temporary_settings({PREFECT_API_REQUEST_TIMEOUT: API_SECONDS, PREFECT_CLIENT_MAX_RETRIES: 0}):
        # Any: the type includes a coroutine, which a caller without an event loop never gets.
        run: Any = run_deployment(
            DEPLOYMENT,
            parameters={"batch_id": batch_id, "generation": generation},
            timeout=0,
            as_subflow=False,
            tags=["shadow", f"batch:{batch_id}", f"policy:{policy}"],
            idempotency_key=f"shadow:{batch_id}:{generation}",
            flow_run_name=RUN_NAME.format(batch_id=batch_id),
        )
    # For a key that was used before, Prefect returns the first run, whatever is requested now.
    if run.parameters.get("batch_id") != batch_id or run.parameters.get("generation") != generation:
        raise ShadowRefusedError(f"flow run {run.id} has this batch's key but other parameters: {run.parameters}")
    return str(run.id)


def _will_pass(error: Exception) -> bool:
    """Return whether the same request may succeed later: Prefect didn't answer, or is too busy."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in BUSY
    return isinstance(error, httpx.TransportError)


def _note(store: Store, batch_id: str, generation: int, reason: str, status: str = "refused") -> None:
    try:
        shadow_requests.record(store.database, batch_id, generation, status, reason)
    except Infrastructure:
        log.exception("batch %s: why it has no shadow was not stored: %s", batch_id, reason)


if __name__ == "__main__":
    submit(Store.from_settings(Settings.load()), sys.argv[1], int(sys.argv[2]))
