"""The list in docs/guides/production.md, command by command as it stands, against a server on which nothing was ever made."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
import processes
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.operations import automations

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """A client of a fresh server, which this environment names."""
    with (
        processes.prefect_server(tmp_path / "server") as (url, _),
        temporary_settings({PREFECT_API_URL: url}),
        get_client(sync_client=True) as client,
    ):
        environment.setenv("PREFECT_API_URL", url)
        environment.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        environment.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield client


def run(command: str) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, cwd=ROOT, env=processes.environment())
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def ask(client: SyncPrefectClient, path: Any) -> Any:
    return client.request("POST", path, json={}).json()


def test_the_list_sets_up_a_fresh_server_and_serves_a_release(client: SyncPrefectClient) -> None:
    commands = pages.example("production").strip().splitlines()
    assert len(commands) == 3
    # The second time is the next release's.
    for command in commands + commands:
        run(command)
    assert sorted(each["name"] for each in ask(client, "/deployments/filter")) == [
        "nightly",
        "nightly",
        "on-demand",
        "shadow",
        "upkeep",
    ]
    [pool] = ask(client, "/work_pools/filter")
    assert (pool["name"], pool["type"]) == ("knowledge-batch", "process")
    queues = {queue["name"]: queue["concurrency_limit"] for queue in ask(client, "/work_pools/knowledge-batch/queues/filter")}
    assert queues["shadow"] == 1
    assert {each["name"] for each in ask(client, "/automations/filter")} == {
        automations.NOTIFY,
        automations.DEMOTED,
        automations.ZOMBIES,
    }
