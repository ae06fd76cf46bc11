"""The deployments of prefect.yaml on a server: what is missing is made, ours is brought up to date, an operator's is kept."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL

from compat.errors import PrefectUnavailableError
from compat.settings import Settings
from flows.form import defaults_of, schema_of

# Deployments that have another name now; their switch goes over to the new one.
RENAMED = {"reconcile/upkeep": "reconcile/every-minute"}
# The upkeep's schedule.
UPKEEP = "upkeep"


def entries() -> list[dict[str, Any]]:
    """Return the deployments as prefect.yaml has them, with the upkeep as often as the lease asks for."""
    text = (files("deployments") / "prefect.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)["deployments"]
    minutes = upkeep_minutes(Settings.load().lease_seconds)
    for schedule in (each for entry in found for each in entry.get("schedules", []) if each["slug"] == UPKEEP):
        schedule["cron"] = f"*/{minutes} * * * *"
    return found


def upkeep_minutes(lease_seconds: float) -> int:
    """Return how often the upkeep runs, 1 to 5: what a dead process left is written down within five leases where that can be.

    The default lease of a minute allows 5 minutes, so that the upkeep's runs don't bury the others.
    """
    return max(1, min(5, int(lease_seconds * 5 / 60)))


def apply(say: Callable[[str], None]) -> None:
    """Create the deployments that are missing, and bring our own fields of the others up to date.

    Ours are version, entry point, the form and the pull steps. Pauses, schedules, parameters, limits, tags and all else that can
    be set on Prefect's page stay as they are.

    Args:
        say: Takes a line for each deployment, with what differs from prefect.yaml and was kept.

    Raises:
        PrefectUnavailableError: Prefect's API doesn't answer, or refuses.
    """
    try:
        with get_client(sync_client=True) as client:
            for pool in sorted({entry["work_pool"]["name"] for entry in entries()}):
                make_pool(client, pool, say)
            for entry in entries():
                say(_applied(client, entry))
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        # Prefect raises RuntimeError if nobody answers at the API's address.
        raise PrefectUnavailableError(PREFECT_API_URL.value() or "PREFECT_API_URL", f"{type(error).__name__}: {error}") from error


def make_pool(client: SyncPrefectClient, name: str, say: Callable[[str], None]) -> None:
    """Create a work pool unless it exists; one that does keeps its limits, its runs and its template.

    Ours takes neither a command nor variables of the environment from whoever starts a run, who could run anything as the
    worker by them, and read whatever it can.
    """
    template = json.loads((files("deployments") / "work_pool.json").read_text(encoding="utf-8"))
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        taken = client.read_work_pool(name).base_job_template.get("variables", {}).get("properties", {})
        if opened := sorted(taken.keys() & {"command", "env"}):
            risk = "by which whoever starts a run can run commands as the worker"
            say(f"kept: the work pool {name}, which takes {' and '.join(opened)} as job variables, {risk}")


def _applied(client: SyncPrefectClient, entry: Mapping[str, Any]) -> str:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    name = f"{flow.name}/{entry['name']}"
    found = _find(client, name)
    if found is None:
        before = _find(client, RENAMED[name]) if name in RENAMED else None
        _create(client, flow, entry, paused=before is not None and before.paused)
        if before is not None:
            client.delete_deployment(before.id)
        return f"deployed: {name}" + (f" (instead of {RENAMED[name]})" if before is not None else "")
    parameters = found.parameters
    if parameters == entry.get("parameters", {}):
        # Nobody has set any; an older version didn't store what the form begins with.
        parameters = _parameters(flow, entry)
    # Only what is sent is written; the client's own update sends everything.
    ours = {
        "version": str(entry["version"]),
        "entrypoint": entry["entrypoint"],
        "parameter_openapi_schema": schema_of(flow, parameters),
        "pull_steps": [],
        **({"parameters": parameters} if parameters != found.parameters else {}),
    }
    client.request("PATCH", "/deployments/{id}", path_params={"id": found.id}, json=ours)
    kept = differences(flow, entry, found)
    return f"up to date: {name}" + (f"; kept as set on the server: {', '.join(kept)}" if kept else "")


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _create(client: SyncPrefectClient, flow: Flow[..., Any], entry: Mapping[str, Any], *, paused: bool) -> None:
    limit = entry.get("concurrency_limit")
    pool, parameters = entry["work_pool"], _parameters(flow, entry)
    client.create_deployment(
        client.create_flow(flow),
        entry["name"],
        version=str(entry["version"]),
        schedules=[
            DeploymentScheduleCreate(schedule=CronSchedule(cron=each["cron"], timezone=each["timezone"]), slug=each["slug"])
            for each in entry.get("schedules", [])
        ],
        concurrency_limit=limit["limit"] if limit else None,
        concurrency_options=ConcurrencyOptions(collision_strategy=limit["collision_strategy"]) if limit else None,
        parameters=parameters,
        description=entry["description"],
        work_pool_name=pool["name"],
        work_queue_name=pool.get("work_queue_name"),
        tags=entry["tags"],
        entrypoint=entry["entrypoint"],
        parameter_openapi_schema=schema_of(flow, parameters),
        paused=paused,
        pull_steps=[],
        enforce_parameter_schema=True,
    )
    if "work_queue_name" in pool:
        # With the deployment's own limit, every shadow goes to the worker, is refused and tried again: dozens of waiting ones
        # keep a server on SQLite too busy for real work. With a queue's limit they wait in the queue.
        queue = {"work_pool_name": pool["name"], "name": pool["work_queue_name"]}
        client.request("PATCH", "/work_pools/{work_pool_name}/queues/{name}", path_params=queue, json={"concurrency_limit": 1})


def _parameters(flow: Flow[..., Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a deployment as it comes: the entry's, and whatever else its form begins with."""
    return {**defaults_of(schema_of(flow)), **entry.get("parameters", {})}


def differences(flow: Flow[..., Any], entry: Mapping[str, Any], found: DeploymentResponse) -> list[str]:
    """Return what a deployment on the server has otherwise than prefect.yaml, each as a short text."""
    ours = _parameters(flow, entry)
    # What it lacks of the form's defaults is the same without.
    has_all = found.parameters.keys() >= entry.get("parameters", {}).keys()
    set_there = {name: value for name, value in found.parameters.items() if name not in ours or ours[name] != value}
    limit = entry.get("concurrency_limit") or {}
    has = found.global_concurrency_limit
    strategy = found.concurrency_options.collision_strategy.value if found.concurrency_options else None
    wanted = {
        "parameters": ({} if has_all else None, set_there),
        "limit": (limit.get("limit"), has.limit if has else None),
        "collision strategy": (limit.get("collision_strategy"), strategy),
        "tags": (sorted(entry["tags"]), sorted(found.tags)),
        "work pool": (entry["work_pool"]["name"], found.work_pool_name),
        "work queue": (entry["work_pool"].get("work_queue_name", "default"), found.work_queue_name),
        "description": (entry["description"].strip(), (found.description or "").strip()),
        "job variables": ({}, found.job_variables or {}),
    }
    short = ("description",)
    differ = [name if name in short else f"{name} {on}" for name, (ours, on) in wanted.items() if ours != on]
    lacking = {each["slug"]: f"{each['cron']} {each['timezone']}" for each in entry.get("schedules", [])}
    for schedule in found.schedules:
        when = schedule.schedule
        text = f"{when.cron} {when.timezone}" if isinstance(when, CronSchedule) else str(when)
        if not schedule.active:
            differ.append(f"the schedule {text} is off")
        if lacking.pop(schedule.slug or "", None) != text:
            differ.append(f"the schedule {text} isn't ours")
    differ += [f"no schedule {text}" for text in lacking.values()]
    return (["paused"] if found.paused else []) + differ
