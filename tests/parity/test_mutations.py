"""The comparison can see: every seeded change of the engine's side is reported in its risk, and equal sides are not."""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.sql.schema import Table

import faults
import flows
import legacy
import postgres
from compat.contracts import BatchParams, utc_now
from compat.modes import Decision, Mode
from compat.parity.report import compare_batch
from compat.recording.recorder import Recorder
from compat.store import Store
from compat.store.database import SHADOW, Database
from compat.store.schema import (
    Base,
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    WorkflowActivity,
    WorkflowExecution,
)
from flows.shadow.comparison import run_shadow
from tasks.extraction import load_extractor

BATCH = "compared"
OWNERS = {"retry-failed": "orchestrator", "continue-on-failure": "activity"}

Change = Callable[[Connection, random.Random], None]
MUTATIONS: list[tuple[str, str, Change]] = []


def mutation(risk: str) -> Callable[[Change], Change]:
    """Adds a change, and the risk that it must be reported in."""

    def add(change: Change) -> Change:
        MUTATIONS.append((change.__name__, risk, change))
        return change

    return add


# --- What is changed, by the tables that the engine writes --------------------------------------------------------------


def table(entity: type[Base]) -> Table:
    found = entity.__table__
    assert isinstance(found, Table)
    return found


def some(connection: Connection, random: random.Random, entity: type[Base], *where: Any) -> Row[Any]:
    rows = connection.execute(select(table(entity)).where(*where).order_by(*table(entity).primary_key)).all()
    # The batch's own row has an id that is drawn; it comes first, so that a seed chooses the same row every time.
    return random.choice(sorted(rows, key=lambda row: row._mapping.get("workflow_type", "")))


def change(connection: Connection, entity: type[Base], row: Row[Any], **values: Any) -> None:
    keys = [column == row._mapping[column.name] for column in table(entity).primary_key]
    assert connection.execute(update(table(entity)).where(*keys).values(values)).rowcount == 1


def remove(connection: Connection, entity: type[Base], row: Row[Any]) -> None:
    keys = [column == row._mapping[column.name] for column in table(entity).primary_key]
    assert connection.execute(delete(table(entity)).where(*keys)).rowcount == 1


def again(connection: Connection, entity: type[Base], row: Row[Any], **values: Any) -> None:
    connection.execute(insert(table(entity)).values({**row._mapping, **values}))


def graph_change(connection: Connection, random: random.Random, kind: str, alter: Callable[[list[Any], int], None]) -> None:
    """Changes one entity or relation of one document."""
    while True:
        row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
        extraction = copy.deepcopy(row.extraction)
        if items := extraction["graph"][kind]:
            break
    alter(items, random.randrange(len(items)))
    change(connection, DocumentOutcome, row, extraction=extraction)


def event_change(connection: Connection, row: Row[Any], **values: Any) -> None:
    change(connection, BatchEventRow, row, payload={**row.payload, **values})


def terminal(connection: Connection) -> Row[Any]:
    return connection.execute(select(table(BatchEventRow)).order_by(BatchEventRow.sequence.desc()).limit(1)).one()


@mutation("R1")
def an_outcome_is_failed(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    error = {"error_class": "RuntimeError", "error_message": "no", "error_terminal": False, "error_args": ["no"]}
    change(connection, DocumentOutcome, row, outcome="failed", extraction=None, **error)


@mutation("R1")
def an_outcome_is_succeeded(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "failed")
    good = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    change(connection, DocumentOutcome, row, outcome="succeeded", extraction=good.extraction)


@mutation("R1")
def an_outcome_is_missing(connection: Connection, random: random.Random) -> None:
    remove(connection, DocumentOutcome, some(connection, random, DocumentOutcome))


@mutation("R1")
def an_error_is_of_another_class(connection: Connection, random: random.Random) -> None:
    change(
        connection,
        DocumentOutcome,
        some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "failed"),
        error_class="builtins.KeyError",
    )


@mutation("R1")
def an_error_says_something_else(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "failed")
    change(connection, DocumentOutcome, row, error_message=row.error_message + ".")


@mutation("R1")
def an_error_is_terminal(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "failed")
    change(connection, DocumentOutcome, row, error_terminal=not row.error_terminal)


@mutation("R1")
def an_entity_is_of_another_type(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "entities", lambda items, at: items[at].update(types=["urn:test:Other"]))


@mutation("R1")
def an_entity_is_missing(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "entities", lambda items, at: items.pop(at))


@mutation("R1")
def an_entity_is_there_twice(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "entities", lambda items, at: items.append(items[at]))


@mutation("R1")
def a_confidence_is_rounded(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "entities", lambda items, at: items[at].update(confidence=0.9999999))


@mutation("R1")
def a_relation_ends_elsewhere(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "relations", lambda items, at: items[at].update(objectId=items[at]["subjectId"]))


@mutation("R1")
def a_relation_is_missing(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "relations", lambda items, at: items.pop(at))


@mutation("R1")
def a_count_of_a_document_is_off_by_one(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    extraction = copy.deepcopy(row.extraction)
    extraction["stats"]["mentionCount"] += 1
    change(connection, DocumentOutcome, row, extraction=extraction)


@mutation("R1")
def entities_are_in_another_order(connection: Connection, random: random.Random) -> None:
    graph_change(connection, random, "entities", lambda items, at: items.reverse())


@mutation("R1")
def a_number_of_an_extraction_is_another_one(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    extraction = copy.deepcopy(row.extraction)
    part, name = random.choice([("stats", "tokensUsed"), ("stats", "clusteringEnabled"), ("config", "ontologyId")])
    extraction[part][name] = "another"
    change(connection, DocumentOutcome, row, extraction=extraction)


@mutation("R1")
def a_graph_counts_what_it_dropped_otherwise(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    extraction = copy.deepcopy(row.extraction)
    extraction["graph"]["stats"]["unresolvedSubjects"] = 3
    change(connection, DocumentOutcome, row, extraction=extraction)


@mutation("R1")
def an_extraction_is_no_extraction(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    change(connection, DocumentOutcome, row, extraction=random.choice([["a list"], {"graph": "none"}, {}]))


@mutation("R1")
def an_error_bears_something_else(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "failed")
    change(connection, DocumentOutcome, row, error_args=["something else"])


@mutation("R1")
def a_moment_of_an_outcome_is_not_set(connection: Connection, random: random.Random) -> None:
    change(connection, DocumentOutcome, some(connection, random, DocumentOutcome), ended_at=None)


@mutation("R1")
def a_batch_counts_what_its_documents_are_not(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchExecution)
    change(connection, BatchExecution, row, entity_count=row.entity_count + 1)


@mutation("R2")
def an_attempt_of_another_budget(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    again(connection, WorkflowActivity, row, id=row.id + "0", input={**row.input, "generation": 1})


@mutation("R2")
def an_attempt_more(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    again(connection, WorkflowActivity, row, id=row.id + "0", attempt=row.attempt + 7)


@mutation("R2")
def an_attempt_twice(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    again(connection, WorkflowActivity, row, id=row.id + "0")


@mutation("R2")
def an_attempt_fewer(connection: Connection, random: random.Random) -> None:
    remove(connection, WorkflowActivity, some(connection, random, WorkflowActivity))


@mutation("R2")
def an_attempt_is_counted_twice(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome)
    change(connection, DocumentOutcome, row, attempts=row.attempts + 1)


@mutation("R2")
def an_owner_is_another_one(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "extraction")
    owner = {"orchestrator": "activity", "activity": "orchestrator"}[row.input["retryOwner"]]
    change(connection, WorkflowExecution, row, input={**row.input, "retryOwner": owner})


@mutation("R2")
def a_retry_count_is_off_by_one(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "extraction")
    change(connection, WorkflowExecution, row, retry_count=row.retry_count + 1)


@mutation("R3")
def a_count_of_the_batch_is_off_by_one(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchExecution)
    column = random.choice(["completed_documents", "failed_documents", "entity_count", "relation_count", "total_documents"])
    change(connection, BatchExecution, row, **{column: row._mapping[column] + 1})


@mutation("R3")
def a_status_is_another_one(connection: Connection, random: random.Random) -> None:
    entity = random.choice([BatchExecution, WorkflowExecution, WorkflowActivity])
    row = some(connection, random, entity)
    change(connection, entity, row, status="failed" if row.status == "completed" else "completed")


@mutation("R3")
def a_status_is_a_new_word(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "batch_extraction")
    change(connection, WorkflowExecution, row, status="crashed")


@mutation("R3")
def a_row_is_missing(connection: Connection, random: random.Random) -> None:
    entity: type[Base] = random.choice([WorkflowExecution, MentionRecord])
    batch = (WorkflowExecution.workflow_type == "extraction",) if entity is WorkflowExecution else ()
    remove(connection, entity, some(connection, random, entity, *batch))


@mutation("R3")
def the_row_of_the_batch_is_missing(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "batch_extraction")
    remove(connection, WorkflowExecution, row)


@mutation("R3")
def a_row_that_an_old_reader_would_pick(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "batch_extraction")
    again(connection, WorkflowExecution, row, id=row.id + "0", input={**row.input, "executionMode": "shadow"})


@mutation("R3")
def an_entity_is_not_resolved(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, MentionRecord, MentionRecord.resolved_entity_id.is_not(None))
    change(connection, MentionRecord, row, resolved_entity_id=None)


@mutation("R3")
def a_confidence_of_a_mention_is_rounded(connection: Connection, random: random.Random) -> None:
    change(connection, MentionRecord, some(connection, random, MentionRecord), confidence=0.9999999)


@mutation("R3")
def a_moment_is_not_set(connection: Connection, random: random.Random) -> None:
    entity = random.choice([BatchExecution, WorkflowExecution, WorkflowActivity])
    change(connection, entity, some(connection, random, entity), completed_at=None)


@mutation("R3")
def a_status_of_the_batch_is_a_new_word(connection: Connection, random: random.Random) -> None:
    change(connection, BatchExecution, some(connection, random, BatchExecution), status="crashed")


@mutation("R3")
def an_attempt_ended_before_it_began(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity, WorkflowActivity.completed_at.is_not(None))
    change(connection, WorkflowActivity, row, completed_at=row.started_at - timedelta(seconds=1))


@mutation("R3")
def an_attempt_took_no_time(connection: Connection, random: random.Random) -> None:
    change(connection, WorkflowActivity, some(connection, random, WorkflowActivity), duration_ms=None)


@mutation("R3")
def an_attempt_has_no_input(connection: Connection, random: random.Random) -> None:
    change(connection, WorkflowActivity, some(connection, random, WorkflowActivity), input=None)


@mutation("R3")
def a_mention_is_of_another_answer(connection: Connection, random: random.Random) -> None:
    change(connection, MentionRecord, some(connection, random, MentionRecord), response_hash="another")


@mutation("R3")
def a_row_is_of_another_organization(connection: Connection, random: random.Random) -> None:
    entity = random.choice([BatchExecution, WorkflowExecution, WorkflowActivity, MentionRecord])
    change(connection, entity, some(connection, random, entity), organization_id="another")


@mutation("R3")
def an_input_has_another_name(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution)
    name = random.choice(sorted(row.input.keys() - {"executionMode", "batchId"}))
    values = {f"_{key}" if key == name else key: value for key, value in row.input.items()}
    change(connection, WorkflowExecution, row, input=values)


@mutation("R4")
def a_batch_is_still_held(connection: Connection, random: random.Random) -> None:
    change(connection, BatchRun, some(connection, random, BatchRun), holder_token="somebody")  # noqa: S106 -- no password


@mutation("R4")
def a_document_is_not_as_it_came_in(connection: Connection, random: random.Random) -> None:
    change(connection, BatchDocument, some(connection, random, BatchDocument), content_hash="another")


@mutation("R4")
def a_documents_text_is_another_one(connection: Connection, random: random.Random) -> None:
    change(connection, BatchDocument, some(connection, random, BatchDocument), text="another")


@mutation("R4")
def a_batch_is_of_somebody_else(connection: Connection, random: random.Random) -> None:
    column = random.choice(["organization_id", "ontology_id", "params_hash"])
    change(connection, BatchRun, some(connection, random, BatchRun), **{column: "another"})


@mutation("R4")
def somebody_asked_for_its_end(connection: Connection, random: random.Random) -> None:
    change(connection, BatchRun, some(connection, random, BatchRun), cancel_requested_at=utc_now())


@mutation("R4")
def a_document_came_in_that_nobody_sent(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchDocument)
    again(connection, BatchDocument, row, position=1_000, document_id="unheard of")


@mutation("R4")
def the_documents_are_in_another_order(connection: Connection, random: random.Random) -> None:
    rows = connection.execute(select(table(DocumentOutcome)).order_by(DocumentOutcome.position)).all()
    change(connection, DocumentOutcome, random.choice(rows[:-1]), position=1_000)


@mutation("R7")
def the_terminal_event_is_another_one(connection: Connection, random: random.Random) -> None:
    event = {"_tag": "BatchEvent.BatchFailed", "error": "no", "failedDocuments": 1}
    event_change(connection, terminal(connection), **event)


@mutation("R7")
def the_terminal_event_counts_one_more(connection: Connection, random: random.Random) -> None:
    row = terminal(connection)
    event_change(connection, row, totalDocuments=row.payload["totalDocuments"] + 1)


@mutation("R7")
def the_terminal_event_is_missing(connection: Connection, random: random.Random) -> None:
    remove(connection, BatchEventRow, terminal(connection))


@mutation("R7")
def the_terminal_event_is_told_twice(connection: Connection, random: random.Random) -> None:
    row = terminal(connection)
    again(connection, BatchEventRow, row, sequence=row.sequence + 1, key=row.key + " again")


@mutation("R7")
def the_first_event_is_told_twice(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchEventRow, BatchEventRow.key == "created")
    again(connection, BatchEventRow, row, sequence=-1, key=row.key + " again")


@mutation("R7")
def an_event_is_of_another_document(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchEventRow, BatchEventRow.document_id.is_not(None))
    change(connection, BatchEventRow, row, document_id="unheard of")


@mutation("R7")
def an_event_is_missing(connection: Connection, random: random.Random) -> None:
    remove(connection, BatchEventRow, some(connection, random, BatchEventRow, BatchEventRow.document_id.is_not(None)))


@mutation("R7")
def an_event_is_told_twice(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchEventRow, BatchEventRow.document_id.is_not(None))
    again(connection, BatchEventRow, row, sequence=row.sequence + 10_000, key=row.key + " again")


@mutation("R7")
def events_of_a_document_are_in_another_order(connection: Connection, random: random.Random) -> None:
    first = some(connection, random, BatchEventRow, BatchEventRow.document_id.is_not(None), BatchEventRow.key.like("started%"))
    mine = select(table(BatchEventRow)).where(BatchEventRow.document_id == first.document_id)
    rows = connection.execute(mine.order_by(BatchEventRow.sequence)).all()
    change(connection, BatchEventRow, rows[0], sequence=rows[1].sequence + 10_000)


@mutation("R7")
def the_batch_ends_before_its_documents(connection: Connection, random: random.Random) -> None:
    change(connection, BatchEventRow, terminal(connection), sequence=-1)


# --- The pair that is changed -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A database that holds legacy's batch and its shadow, closed, so that it can be copied."""

    policy: str
    url: str

    @contextmanager
    def copied(self, folder: Path) -> Iterator[str]:
        """The URL of a copy with both sides."""
        url = make_url(self.url)
        assert url.database is not None
        if url.get_backend_name() == "sqlite":
            shutil.copytree(Path(url.database).parent, folder / "copy")
            yield url.set(database=str(folder / "copy" / "knowledge.db")).render_as_string()
            return
        with postgres.fresh(self.url, url.database) as copy:
            yield copy


@pytest.fixture(scope="module")
def pairs(
    request: pytest.FixtureRequest, database_kind: str, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Pair]]:
    """A batch and its shadow, under either owner of retries."""
    with ExitStack() as stack:
        made = {}
        for policy in OWNERS:
            folder = tmp_path_factory.mktemp("pair")
            url = f"sqlite:///{folder / 'home' / 'knowledge.db'}"
            if database_kind == "postgresql":
                server, template = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")
                url = stack.enter_context(postgres.fresh(server, template))
            make_pair(policy, url, folder)
            made[policy] = Pair(policy, url)
        yield made


def make_pair(policy: str, url: str, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNOWLEDGE_HOME", str(folder / "home"))
        patch.setenv("KNOWLEDGE_DATABASE_URL", url)
        patch.setenv("KNOWLEDGE_EXTRACTOR", faults.NAME)
        patch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.001")
        patch.setenv(faults.DOOR, str(folder / "door"))
        config = {"failurePolicy": policy, "enableEntityResolution": True}
        documents = faults.SCRIPTS["mixed"]
        params = {"batchId": BATCH, "organizationId": "o", "ontologyId": "o", "documents": documents, "config": config}
        flows.run_batch(params, "shadow")
        main, shadow = Store.from_settings(), Store.of_shadows()
        report = run_shadow(main, shadow, BATCH, "tape")
        assert report is not None
        assert (report.verdict, report.samples) == ("parity", {})
        for store in (main, shadow):
            store.database.engine.dispose()


# Owners take turns, so that each risk is changed under both.
TURNS = [pytest.param(list(OWNERS)[turn % len(OWNERS)], *each, id=each[0]) for turn, each in enumerate(MUTATIONS)]


@pytest.mark.parametrize(("policy", "name", "risk", "alter"), TURNS)
def test_a_change_of_the_engines_side_is_reported_in_its_risk(
    pairs: dict[str, Pair], tmp_path: Path, policy: str, name: str, risk: str, alter: Change
) -> None:
    with pairs[policy].copied(tmp_path) as url:
        legacy_side, engine_side = Store(Database(url)), Store(Database(url, SHADOW))
        with engine_side.database.write() as connection:
            alter(connection, random.Random(f"{policy} {name}"))  # noqa: S311 -- seeded, so that it can be run again
        report = compare_batch(legacy_side, engine_side, BATCH)
        for store in (legacy_side, engine_side):
            store.database.engine.dispose()
    assert report.verdict == "diverged"
    assert report.counts[risk] > 0, json.dumps(report.to_dict()["samples"], indent=1)


def test_the_corpus_is_large_enough() -> None:
    assert len(MUTATIONS) >= 40
    assert {risk for _, risk, _ in MUTATIONS} == {"R1", "R2", "R3", "R4", "R7"}


@pytest.mark.parametrize("pairs", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_identical_pairs_are_not_reported(environment: pytest.MonkeyPatch, tmp_path: Path, request_of: Any, pairs: int) -> None:
    """Two runs of legacy on the same scripts, drawn at random: all that may differ between two runs does."""
    stores = [Store(Database(f"sqlite:///{tmp_path / name}.db")) for name in ("one", "other")]
    drawn = random.Random(4)  # noqa: S311 -- seeded, so that it can be run again
    for number in range(pairs):
        documents = [
            faults.document(f"{number}-{place}", fail=drawn.choice([0, 0, 0, 1, 2, 5]), how=drawn.choice(["flaky", "ontology"]))
            for place in range(drawn.randrange(1, 5))
        ]
        config = {"failurePolicy": drawn.choice(["continue-on-failure", "abort-all", "retry-failed"])}
        config["enableEntityResolution"] = drawn.choice([True, False])
        params = BatchParams.parse(request_of(documents, f"pair {number}", **config))
        for place, store in enumerate(stores):
            environment.setenv(faults.DOOR, str(tmp_path / f"door-{number}-{place}"))
            claim = store.claim(params, Decision(Mode.SHADOW, "one of two"))
            assert claim is not None
            with Recorder(store, claim, 0.0) as recorder:
                legacy.run(recorder, load_extractor(faults.NAME))
        report = compare_batch(*stores, f"pair {number}")
        assert (report.verdict, report.samples) == ("parity", {}), report.to_markdown()
