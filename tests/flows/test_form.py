"""The deployment's form: what it is called and accepts, and what a person sees of a run that came of it."""

import logging
import re
from pathlib import Path
from typing import Any

import coolname
import pytest
import stacks
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import FailedRun, ParameterTypeError, PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.logging.loggers import flow_run_logger
from prefect.states import Pending

import faults
import flows
from compat.errors import InvalidInputError, Problem
from compat.store import Store
from compat.store.overview import reruns
from flows import deployed, form, sources
from flows.operations import deployments
from flows.sources import ontologies
from flows.sources.documents import OWN_ORGANIZATION

pytestmark = pytest.mark.usefixtures("environment")

SCHEMA = form.schema_of(deployed.run_batch)


@pytest.fixture(scope="module")
def client(prefect_server: None) -> Any:
    with get_client(sync_client=True) as client:
        deployments.apply(lambda _: None)
        yield client
        for each in client.read_deployments():
            client.delete_deployment(each.id)


def start(client: SyncPrefectClient, name: str = "", **parameters: Any) -> FlowRun:
    """A run as the form makes it, with a name that the page proposes where a person gives none."""
    deployment = client.read_deployment_by_name("run-batch/on-demand")
    return client.create_flow_run_from_deployment(deployment.id, name=name or "omega-tanaka-void", parameters=parameters)


def enter(client: SyncPrefectClient, run: FlowRun) -> tuple[FlowRun, State[Any]]:
    """Enters a run, and returns it as it is afterwards."""
    client.set_flow_run_state(run.id, Pending(), force=True)
    run = client.read_flow_run(run.id)
    state = run_flow(deployed.run_batch, flow_run=run, parameters=run.parameters, return_type="state")
    assert isinstance(state, State)
    return client.read_flow_run(run.id), state


# --- The form -------------------------------------------------------------------------------------------------------------


def test_every_field_has_a_title_and_says_what_it_is() -> None:
    for name, field in SCHEMA["properties"].items():
        assert re.fullmatch(r"[A-Z][A-Za-z ]+", field["title"]), name
        assert field["description"].endswith("."), name


def test_what_begins_with_a_value_is_not_called_optional(client: SyncPrefectClient) -> None:
    for name in ("on-demand", "nightly"):
        found = client.read_deployment_by_name(f"run-batch/{name}")
        schema: Any = found.parameter_openapi_schema
        empty = {name for name, field in SCHEMA["properties"].items() if field["default"] == ""}
        assert schema["properties"].keys() - set(schema["required"]) == empty
        # For callers that leave a value out.
        assert found.parameters.keys() >= set(schema["required"])


def test_a_deployment_whose_parameters_somebody_set_asks_for_no_more_of_them(client: SyncPrefectClient) -> None:
    found = client.read_deployment_by_name("run-batch/nightly")
    client.request("PATCH", "/deployments/{id}", path_params={"id": found.id}, json={"parameters": {"concurrency": 5}})
    deployments.apply(lambda _: None)
    found = client.read_deployment_by_name("run-batch/nightly")
    assert found.parameters == {"concurrency": 5}
    assert found.parameter_openapi_schema is not None
    assert found.parameter_openapi_schema["required"] == ["concurrency"]
    assert client.create_flow_run_from_deployment(found.id).parameters == {"concurrency": 5}


def test_a_deployment_of_an_older_version_is_given_what_the_form_begins_with(client: SyncPrefectClient) -> None:
    found = client.read_deployment_by_name("run-batch/nightly")
    client.request("PATCH", "/deployments/{id}", path_params={"id": found.id}, json={"parameters": {"source": "sample"}})
    deployments.apply(lambda _: None)
    assert client.read_deployment_by_name("run-batch/nightly").parameters == form.defaults_of(SCHEMA)


REFUSED: dict[str, tuple[Any, str]] = {
    "source": ("postgresql://me:hush@db.example.org/x", "an address without a password, .*: env:NAME"),
    "ontology": ("https://me:hush@example.org/o.ttl", "an address without a password, .*: env:NAME"),
    "batch_id": ("a\nhush", "one line, since a text with control characters"),
    "organization": ("a\thush", "one line, since a text with control characters"),
    "concurrency": (21, "21 is greater than the maximum of 20"),
    "mode": ("fast", r"'fast' is not one of \['default', 'legacy', 'engine', 'shadow'\]"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_refused_value_comes_back_as_one_sentence(field: str, client: SyncPrefectClient) -> None:
    value, said = REFUSED[field]
    with pytest.raises(PrefectHTTPStatusError) as raised:
        start(client, **{field: value})
    detail = raised.value.response.json()["detail"]
    assert re.fullmatch(rf"Error creating flow run: Validation failed for field '{field}'\. Failure reason: '?{said}.*", detail)
    assert "hush" not in detail
    assert "{" not in detail
    # The page asks this before it sends anything, and shows the answer at the field.
    schema = client.read_deployment_by_name("run-batch/on-demand").parameter_openapi_schema
    path: Any = "/ui/schemas/validate"
    [error] = client.request("POST", path, json={"schema": schema, "values": {**form.defaults_of(SCHEMA), field: value}}).json()[
        "errors"
    ]
    assert error["property"] == field
    assert re.search(said, " ".join(error["errors"]))


# --- What comes of it -----------------------------------------------------------------------------------------------------


def test_a_bad_source_is_a_failed_state_with_its_message_and_no_traceback(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = stacks.source(tmp_path / "bad", [faults.document("a")])
    (Path(bad) / "documents.jsonl").write_text('{"documentId": "a", "text": "x"}\nroot:x:0:0:hunter2\n', encoding="utf-8")
    said = {
        str(tmp_path / "gone"): f"Documents = '{tmp_path / 'gone'}': no such file or folder; name one, or say: sample",
        "/etc/passwd": "Documents = '/etc/passwd': lies in a folder of the system or in KNOWLEDGE_HOME.*",
        bad: r"documents.jsonl line 2: isn't JSON \(Expecting value: line 1 column 1 \(char 0\)\); correct or remove the line",
        "postgresql://example.org/x": "Ontology = '': .*; name it: the field Ontology",
        "-": "Documents = '-': is stdin.*",
    }
    for source, message in said.items():
        run = start(client, source=source)
        caplog.clear()
        # As a worker's child does.
        with pytest.raises(InvalidInputError):
            run_flow(deployed.run_batch, flow_run=run, error_logger=flow_run_logger(run))
        state = client.read_flow_run(run.id).state
        assert state is not None
        assert state.is_failed()
        assert re.fullmatch(message, str(state.message)), state.message
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [state.message]
        assert "Traceback" not in caplog.text
        assert "hunter2" not in caplog.text
    assert flows.list_batches() == []


def test_an_ontology_that_cannot_be_read_shows_none_of_its_lines(tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a")])
    for secret in ("root:x:0:0:hunter2", "@prefix a: <hunter2", "<a> hunter2:b <c> .", '["hunter2"', "<hunter2", "<a>hunter2"):
        (Path(source) / "ontology.ttl").write_text(f"{secret}\n", encoding="utf-8")
        with pytest.raises(InvalidInputError, match="ontology") as raised:
            ontologies.check(sources.load(source), "rules")
        assert "hunter2" not in form.in_words(raised.value), secret


def test_a_wrong_value_that_nobody_checked_before_leaves_no_traceback(
    client: SyncPrefectClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = client.create_flow_run(deployed.run_batch, parameters={"concurrency": 21})
    with pytest.raises(ParameterTypeError):
        run_flow(deployed.run_batch, flow_run=run, error_logger=flow_run_logger(run))
    assert "concurrency: Input should be less than or equal to 20" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_batch_that_failed_leaves_no_traceback(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a", fail=faults.ALWAYS, how="ontology")])
    run = start(client, source=source, mode="legacy")
    with pytest.raises(FailedRun):
        run_flow(deployed.run_batch, flow_run=run, error_logger=flow_run_logger(run))
    assert "Traceback" not in caplog.text
    assert "All documents failed" in [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_errors_name_the_forms_fields_rather_than_the_commands_options() -> None:
    problems = [
        Problem("ontology", "", "name one with --ontology FILE"),
        Problem("a.csv row 2", "hush", "id 'hush' is used twice"),
    ]
    assert form.in_words(InvalidInputError(problems)) == (
        "Ontology = '': name one with the field Ontology; a.csv row 2: id … is used twice"
    )


def test_a_run_that_nobody_named_is_called_by_its_batch_and_mode_and_a_given_name_is_kept(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a")])
    named = {
        "": "b (legacy)",
        "brave-otter": "b (legacy)",
        "Tuesday's letters": "Tuesday's letters",
        "weekly-report": "weekly-report",
    }
    for given, name in named.items():
        run, state = enter(client, start(client, given, source=source, batch_id="b", mode="legacy"))
        assert state.is_completed()
        assert run.name == name


def test_every_name_that_prefect_makes_up_is_known_as_one() -> None:
    made_up = ["-".join(coolname.generate(2)) for _ in range(500)]
    # As the page writes them.
    made_up += ["alpha-andromedae", "omicron4-barad-dur", "psi-canis-majoris-c", "upsilon73-newton-nebula"]
    assert [name for name in made_up if not form.is_proposed(name)] == []
    given = ["letters", "weekly-report", "my-run", "night of the letters", "batch-7", "letters (2)", "brave-letters"]
    assert [name for name in given if form.is_proposed(name)] == []


def test_a_batch_belongs_to_the_organization_that_the_form_names(client: SyncPrefectClient, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a")])
    flows.set_mode("engine", organization_id="theirs")
    run, _ = enter(client, start(client, source=source, batch_id="b", organization="theirs"))
    assert run.name == "b (engine)"
    assert Store.from_settings().batch("b").organization_id == "theirs"
    enter(client, start(client, source=source, batch_id="c"))
    assert Store.from_settings().batch("c").organization_id == OWN_ORGANIZATION


def test_failed_documents_run_again_from_the_form_and_a_run_can_fail_for_them(client: SyncPrefectClient, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("good"), faults.document("bad", fail=4)])
    run, state = enter(client, start(client, source=source, batch_id="first", fail_on_error=True, mode="legacy"))
    assert run.state is not None
    assert run.state.type == "FAILED"
    assert str(run.state.message).startswith("1 of 2 documents failed; run them again with ")
    assert type(flows.get_status("first")).__name__ == "Completed"
    run, state = enter(client, start(client, failed_of="first", batch_id="second", fail_on_error=True, mode="legacy"))
    assert state.message == "1 of 1 documents, 2 entities, 1 relations"
    assert reruns(Store.from_settings(), "second").failed_of == "first"
    run, state = enter(client, start(client, failed_of="second", batch_id="third"))
    assert state.message == "Failed documents of = 'second': has no failed document, so there is nothing to run again"
    run, state = enter(client, start(client, failed_of="nobody's", batch_id="third"))
    assert str(state.message).startswith("No batch nobody's is stored here")
