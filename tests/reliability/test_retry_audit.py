"""R2: the audit finds a second owner of retries wherever one creeps in, and nothing in what is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import faults
import flows
from compat.errors import BatchNotFoundError, InvalidInputError
from compat.store import Store
from flows.operations.audit import PACKAGES, audit, audit_ledger, audit_source
from flows.operations.audit.reach import extractor_files

REPOSITORY = Path(flows.__file__).parents[1]

# What somebody may do to our own code one day: file, what stands there, what stands there then.
MUTATIONS = {
    "tasks/resolve.py": ("retries=0, ", ""),
    "tasks/extract.py": ("    retries=0,\n", ""),
    "flows/engine/batch_flow.py": ("retries=0", "retries=1"),
    "flows/operations/reconcile.py": ("retries=0, ", ""),
    "flows/deployed.py": ('name="run-batch",\n    retries=0', 'name="run-batch",\n    retries=3'),
    "tasks/extraction/__init__.py": ("\nfrom ", "\nimport tenacity\nfrom "),
    "compat/recording/recorder.py": ("\nimport ", "\nimport backoff\nimport "),
}


@pytest.mark.parametrize("file", MUTATIONS)
def test_a_change_of_our_own_code_is_found(file: str) -> None:
    source = (REPOSITORY / file).read_text(encoding="utf-8")
    before, after = MUTATIONS[file]
    assert before in source
    assert audit_source(source, file) == []
    findings = audit_source(source.replace(before, after, 1), file)
    assert [finding.where.partition(":")[0] for finding in findings] == [file]


# An extractor's files, the factory's module, and the files that are read.
EXTRACTORS = {
    "a module": ({"alone.py": "import json"}, "alone:factory", ["alone.py"]),
    "a module beside others": (
        {"one.py": "def factory():\n    import two", "two.py": "from three.deep import calls", "three/__init__.py": "",
         "three/deep/__init__.py": "from . import calls", "three/deep/calls.py": "from ..shared import session",
         "three/shared.py": "", "three/unused.py": "import tenacity", "nobody.py": "import tenacity"},
        "one:factory",
        ["one.py", "three/__init__.py", "three/deep/__init__.py", "three/deep/calls.py", "three/shared.py", "two.py"],
    ),
    "a package, whole, and what it imports at run time": (
        {"pack/__init__.py": "", "pack/plugins/first.py": "from importlib import import_module as load\nload('helped.by')",
         "helped/__init__.py": "import pack", "helped/by.py": "import sqlalchemy, compat.ids"},
        "pack.plugins.first:factory",
        ["helped/__init__.py", "helped/by.py", "pack/__init__.py", "pack/plugins/first.py"],
    ),
    "of a file that doesn't parse": ({"torn.py": "import json, (\n"}, "torn:factory", ["torn.py"]),
}  # fmt: skip


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_an_extractor_is_read_with_what_it_imports_from_beside_it(
    extractor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, factory, read = EXTRACTORS[extractor]
    _write(tmp_path, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sorted(str(path.relative_to(tmp_path)) for path in extractor_files(factory)) == read


def test_an_installed_extractor_is_read_as_far_as_its_distribution_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(
        tmp_path,
        {
            "plugged/__init__.py": "import plugged_helpers, stranger",
            "plugged_helpers.py": "",
            "stranger.py": "import tenacity",
            "plugged-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n",
            "plugged-1.0.dist-info/top_level.txt": "plugged\nplugged_helpers\n",
            "stranger-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n",
            "stranger-1.0.dist-info/top_level.txt": "stranger\n",
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [path.name for path in extractor_files("plugged:factory")] == ["__init__.py", "plugged_helpers.py"]


def test_an_extractor_of_ours_is_read_with_our_packages() -> None:
    assert extractor_files("rules") == extractor_files("tasks.extraction:RulesExtractor") == []


def test_an_extractor_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="there is no module 'nowhere'"):
        extractor_files("nowhere:factory")


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source, encoding="utf-8")


@pytest.mark.usefixtures("environment", "prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_the_ledger_of_real_batches_adds_up_owner_by_owner(mode: str, request_of: Any) -> None:
    for policy in ("continue-on-failure", "abort-all", "retry-failed"):
        flows.run_batch(request_of(faults.SCRIPTS["mixed"], batch_id=policy, failurePolicy=policy), mode)
    flows.run_batch(request_of([faults.document("late", fail=5)], batch_id="again", failurePolicy="retry-failed"), mode)
    flows.resume_batch("again", mode)
    found = audit(Store.from_settings(), faults.NAME)
    assert found.findings == ()
    assert found.files > len(PACKAGES)
    assert sum(owner.attempts for owner in found.ledger) == sum(faults.knocks().values())
    assert {owner.owner: owner.batches for owner in found.ledger} == {"activity": 2, "orchestrator": 2}


COPY = (
    "INSERT INTO knowledge_workflow_activity (id, organization_id, created_at, updated_at, execution_id, activity_name, status,"
    " input, output, error, started_at, completed_at, attempt, duration_ms)"
    " SELECT id || '{number}', organization_id, created_at, updated_at, execution_id, activity_name, status,"
    " input, output, error, started_at, completed_at, {number}, duration_ms FROM knowledge_workflow_activity WHERE attempt = 1"
)
DRIFTS = {
    "an attempt more": (COPY.format(number=2), "was tried again after attempt 1 had succeeded"),
    "an attempt twice": (COPY.format(number=1), "attempt 1 is on record more than once"),
    "over the budget": (";".join(COPY.format(number=number) for number in (2, 3, 4, 5)), "5 attempts, its budget is 4"),
    "an attempt lost": ("DELETE FROM knowledge_workflow_activity", "its outcome counts 1 attempts, 0 are on record"),
    "another owner": (
        "UPDATE knowledge_workflow_execution SET input = CAST(replace(CAST(input AS text), 'activity', 'orchestrator') AS {json})"
        " WHERE workflow_type = 'extraction'",
        "its row names the owner orchestrator, its policy activity",
    ),
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("drift", DRIFTS)
def test_rows_that_drift_from_the_policy_are_found_by_document(drift: str, request_of: Any) -> None:
    statements, said = DRIFTS[drift]
    flows.run_batch(request_of([faults.document("a")], batch_id="drifted"))
    store = Store.from_settings()
    json = "JSONB" if store.database.dialect == "postgresql" else "TEXT"
    assert audit_ledger(store, "drifted")[1] == []
    with store.database.write() as connection:
        for statement in statements.split(";"):
            connection.execute(text(statement.format(json=json)))
    findings = audit_ledger(store, "drifted")[1]
    assert any(finding.what == said for finding in findings)
    assert {finding.where for finding in findings} == {"batch drifted, document a"}


@pytest.mark.usefixtures("environment")
def test_an_unknown_batch_has_no_ledger() -> None:
    with pytest.raises(BatchNotFoundError):
        audit_ledger(Store.from_settings(), "nobody")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, []),
        (
            {
                "PREFECT_TASKS_DEFAULT_RETRIES": "3",
                "PREFECT_FLOWS_DEFAULT_RETRIES": "1",
                "KNOWLEDGE_EXTRACTOR": "outsider:factory",
            },
            ["outsider.py:1: tenacity retries", "PREFECT_TASKS_DEFAULT_RETRIES: is 3", "PREFECT_FLOWS_DEFAULT_RETRIES: is 1"],
        ),
    ],
    ids=["nothing", "code and settings"],
)
def test_the_command_exits_1_with_what_it_finds(
    variables: dict[str, str], said: list[str], environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "outsider.py").write_text("import tenacity\n", encoding="utf-8")
    environment.setenv("PYTHONPATH", str(tmp_path))
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    environment.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    for name, value in variables.items():
        environment.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-m", "flows.command.cli", "retries", "audit", "--format", "json"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if said else 0), done.stderr
    assert len(findings) == len(said)
    for finding, words in zip(findings, said, strict=True):
        assert words in f"{finding['where']}: {finding['what']}"
