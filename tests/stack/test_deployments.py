"""prefect.yaml holds what it promises, read without a server."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from flows.operations import deployments

ROOT = Path(__file__).parents[2]
TEXT = (files("deployments") / "prefect.yaml").read_text(encoding="utf-8")
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(TEXT)["deployments"]

each = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: f"{each['entrypoint']}-{each['name']}")


def test_the_package_and_the_root_have_the_same_file() -> None:
    if not (ROOT / "prefect.yaml").exists():
        pytest.skip("no checkout around the tests")
    assert (ROOT / "prefect.yaml").read_text(encoding="utf-8") == TEXT


@each
def test_an_entry_bears_the_packages_version(deployment: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert deployment["version"] == project["version"]


@each
def test_an_entry_is_tagged_described_and_on_the_one_pool(deployment: dict[str, Any]) -> None:
    assert "knowledge-batch" in deployment["tags"]
    assert deployment["description"]
    assert deployment["work_pool"]["name"] == "knowledge-batch"


@each
def test_an_entry_point_is_a_module_and_names_no_path(deployment: dict[str, Any]) -> None:
    assert deployment["entrypoint"].startswith("flows.")
    assert "/" not in deployment["entrypoint"]


@each
def test_a_schedule_names_its_zone_and_its_slug_by_which_it_stays_off(deployment: dict[str, Any]) -> None:
    for schedule in deployment.get("schedules", []):
        assert ZoneInfo(schedule["timezone"])
        assert schedule["slug"]


@each
def test_what_runs_batches_by_a_schedule_runs_one_at_a_time_and_waits_for_the_one_before(deployment: dict[str, Any]) -> None:
    if deployment["name"] == "nightly":
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@each
def test_the_upkeep_has_no_limit_that_its_own_dead_run_would_hold(deployment: dict[str, Any]) -> None:
    if deployment["name"] == "upkeep":
        assert "concurrency_limit" not in deployment


@pytest.mark.parametrize(("lease", "minutes"), [(None, 5), ("30", 2), ("5", 1), ("600", 5)])
def test_the_upkeep_comes_every_5_minutes_where_the_lease_allows(
    lease: str | None, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KNOWLEDGE_LEASE_SECONDS", raising=False)
    if lease is not None:
        monkeypatch.setenv("KNOWLEDGE_LEASE_SECONDS", lease)
    [schedule] = [each for entry in deployments.entries() if entry["name"] == "upkeep" for each in entry["schedules"]]
    assert schedule["cron"] == f"*/{minutes} * * * *"
