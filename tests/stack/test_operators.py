"""What operators set on Prefect's page stays set: deployments are made where they are missing, and only ours is updated."""

from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from flows.operations import deployments

pytestmark = pytest.mark.usefixtures("prefect_server")

NIGHTLY = "run-batch/nightly"


def applied() -> dict[str, str]:
    """The lines of a deploy, by deployment."""
    lines: list[str] = []
    deployments.apply(lines.append)
    return {line.split(": ")[1].split(";")[0].split(" (")[0]: line for line in lines if not line.startswith("kept")}


def patch(client: SyncPrefectClient, found: Any, **fields: Any) -> None:
    client.request("PATCH", "/deployments/{id}", path_params={"id": found.id}, json=fields)


@pytest.fixture
def client() -> Any:
    with get_client(sync_client=True) as client:
        applied()
        yield client
        for each in client.read_deployments():
            client.delete_deployment(each.id)


def test_what_an_operator_set_is_kept_and_said(client: SyncPrefectClient) -> None:
    nightly = client.read_deployment_by_name(NIGHTLY)
    [schedule] = nightly.schedules
    client.update_deployment_schedule(nightly.id, schedule.id, active=False)
    mine = {"schedule": {"cron": "30 4 * * *", "timezone": "Europe/Berlin"}, "active": True}
    client.request("POST", "/deployments/{id}/schedules", path_params={"id": nightly.id}, json=[mine])
    patch(
        client, nightly, parameters={"source": "env:OURS"}, concurrency_limit=2, tags=["ours"], paused=True, description="Ours."
    )
    before = client.read_deployment_by_name(NIGHTLY)
    line = applied()[NIGHTLY]
    after = client.read_deployment_by_name(NIGHTLY)
    for name in ("parameters", "tags", "paused", "description", "schedules", "concurrency_options"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.global_concurrency_limit is not None
    assert after.global_concurrency_limit.limit == 2
    assert {(each.active, getattr(each.schedule, "cron", None)) for each in after.schedules} == {
        (False, "0 2 * * *"),
        (True, "30 4 * * *"),
    }
    for said in (
        "paused",
        "parameters {'source': 'env:OURS'}",
        "limit 2",
        "tags ['ours']",
        "description",
        "the schedule 0 2 * * * Etc/UTC is off",
        "the schedule 30 4 * * * Europe/Berlin isn't ours",
    ):
        assert said in line


def test_what_belongs_to_a_release_is_updated(client: SyncPrefectClient) -> None:
    nightly = client.read_deployment_by_name(NIGHTLY)
    patch(client, nightly, version="0.0.1", entrypoint="gone.away", parameter_openapi_schema={"type": "object", "properties": {}})
    assert applied()[NIGHTLY] == f"up to date: {NIGHTLY}"
    after = client.read_deployment_by_name(NIGHTLY)
    assert (after.version, after.entrypoint) == (nightly.version, nightly.entrypoint)
    assert after.parameter_openapi_schema == nightly.parameter_openapi_schema


def test_what_is_missing_is_made_and_only_that(client: SyncPrefectClient) -> None:
    client.delete_deployment(client.read_deployment_by_name(NIGHTLY).id)
    lines = applied()
    assert lines[NIGHTLY] == f"deployed: {NIGHTLY}"
    assert [line for name, line in lines.items() if name != NIGHTLY and "deployed" in line] == []
    made = client.read_deployment_by_name(NIGHTLY)
    assert made.parameters["source"] == "sample"
    assert [each.slug for each in made.schedules] == ["nightly"]
    assert made.work_pool_name == "knowledge-batch"


def test_a_deployment_under_its_old_name_is_replaced_and_stays_paused(client: SyncPrefectClient) -> None:
    now = client.read_deployment_by_name("reconcile/upkeep")
    client.delete_deployment(now.id)
    client.create_deployment(now.flow_id, "every-minute", paused=True)
    assert applied()["reconcile/upkeep"] == "deployed: reconcile/upkeep (instead of reconcile/every-minute)"
    assert client.read_deployment_by_name("reconcile/upkeep").paused
    assert "reconcile/every-minute" not in {f"reconcile/{each.name}" for each in client.read_deployments()}


def test_a_limit_that_was_set_for_the_shadows_queue_stays(client: SyncPrefectClient) -> None:
    path: Any = "/work_pools/knowledge-batch/queues/shadow"
    assert client.request("GET", path).json()["concurrency_limit"] == 1
    client.request("PATCH", path, json={"concurrency_limit": 5})
    applied()
    assert client.request("GET", path).json()["concurrency_limit"] == 5


@pytest.mark.parametrize(
    "variables", [{"command": "id"}, {"env": {"KNOWLEDGE_SOURCES_ALLOW": "/"}}, {"working_dir": "/etc"}], ids=str
)
def test_whoever_starts_a_run_names_neither_its_command_nor_its_environment(
    client: SyncPrefectClient, variables: dict[str, Any]
) -> None:
    pool = f"pool-{next(iter(variables))}"
    lines: list[str] = []
    deployments.make_pool(client, pool, lines.append)
    found = client.read_deployment_by_name(NIGHTLY)
    patch(client, found, work_pool_name=pool, work_queue_name="default")
    with pytest.raises(PrefectHTTPStatusError) as raised:
        client.create_flow_run_from_deployment(found.id, job_variables=variables)
    assert "Additional properties are not allowed" in raised.value.response.json()["detail"]
    assert client.create_flow_run_from_deployment(found.id).job_variables == {}
    deployments.make_pool(client, pool, lines.append)
    assert lines == []


def test_a_pool_that_takes_commands_is_kept_and_said(client: SyncPrefectClient) -> None:
    lines: list[str] = []
    client.create_work_pool(WorkPoolCreate(name="theirs", type="process"))
    client.request(
        "PATCH",
        "/work_pools/{name}",
        path_params={"name": "theirs"},
        json={"base_job_template": ProcessWorker.get_default_base_job_template()},
    )
    deployments.make_pool(client, "theirs", lines.append)
    [line] = lines
    assert line.startswith("kept: the work pool theirs, which takes command and env as job variables")
