"""The comparison can see: every seeded change of the engine's side is reported in its risk, and equal sides are not."""

import copy
import json
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.sql.schema import Table

import faults
import legacy
import postgres
from compat.contracts import BatchParams, Extractor, utc_now
from compat.ids import content_hash, new_id
from compat.modes import Decision, Mode
from compat.parity import render
from compat.parity.report import compare_batch
from compat.parity.sides import log, names, side
from compat.parity.tape import Tape
from compat.recording.recorder import Recorder
from compat.settings import Settings
from compat.store import Store
from compat.store.database import SHADOW, Database
from compat.store.schema import (
    Base,
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    CanonicalMember,
    CanonicalRow,
    DocumentOutcome,
    MentionRecord,
    TapeRow,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import pages
from tasks.extraction import load_extractor

BATCH = "compared"
POLICIES = ("retry-failed", "continue-on-failure", "abort-all")

Change = Callable[[Connection, random.Random], None]
# A change by its name, the risk that it must be reported in, and the policy under which it is one; none: under any.
MUTATIONS: list[tuple[str, str, str | None, Change]] = []


def mutation(risk: str, policy: str | None = None) -> Callable[[Change], Change]:
    """Adds a change."""

    def add(change: Change) -> Change:
        MUTATIONS.append((change.__name__, risk, policy, change))
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


@mutation("R1")
def an_entity_is_merged_into_another(connection: Connection, random: random.Random) -> None:
    change(connection, CanonicalMember, some(connection, random, CanonicalMember), canonical_id="another")


@mutation("R1")
def an_entity_is_not_merged(connection: Connection, random: random.Random) -> None:
    remove(connection, CanonicalMember, some(connection, random, CanonicalMember))


@mutation("R1")
def a_merged_entity_is_called_something_else(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, CanonicalRow)
    change(connection, CanonicalRow, row, name=row.name + "!")


@mutation("R1")
def a_merged_entity_is_missing(connection: Connection, random: random.Random) -> None:
    remove(connection, CanonicalRow, some(connection, random, CanonicalRow))


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


# --- Order, places, rounds and waits --------------------------------------------------------------------------------------


def tell_in_order(connection: Connection, order: Callable[[list[Row[Any]]], list[Row[Any]]]) -> None:
    """Tells the documents' events in another order, each at the moment of the place that it takes."""
    mine = select(table(BatchEventRow)).where(BatchEventRow.document_id.is_not(None))
    rows = list(connection.execute(mine.order_by(BatchEventRow.sequence)).all())
    for row in rows:
        change(connection, BatchEventRow, row, sequence=row.sequence + 100_000)
    for place, row in zip(rows, order(rows), strict=True):
        moved = row._mapping["sequence"] + 100_000
        values = {"sequence": place.sequence, "payload": {**row.payload, "timestamp": place.payload["timestamp"]}}
        statement = update(table(BatchEventRow)).where(BatchEventRow.sequence == moved).values(values)
        assert connection.execute(statement).rowcount == 1


def starts_first(rows: list[Row[Any]]) -> list[Row[Any]]:
    return sorted(rows, key=lambda row: not row.key.startswith("started"))


def by_document(rows: list[Row[Any]], documents: list[str]) -> list[Row[Any]]:
    return sorted(rows, key=lambda row: documents.index(row.document_id))


def place_attempts(connection: Connection, moments: Callable[[int, Row[Any]], tuple[float, float]]) -> None:
    """Moves the attempts: seconds after the batch's beginning at which each starts and ends; the batch ends later."""
    batch = connection.execute(select(table(BatchExecution))).one()
    rows = connection.execute(select(table(WorkflowActivity)).order_by(WorkflowActivity.started_at)).all()
    for number, row in enumerate(rows):
        start, end = (batch.started_at + timedelta(seconds=each) for each in moments(number, row))
        change(connection, WorkflowActivity, row, started_at=start, completed_at=end)
    for entity in (BatchExecution, WorkflowExecution):
        whole = [entity.id == BATCH] if entity is BatchExecution else [WorkflowExecution.workflow_type == "batch_extraction"]  # type: ignore[attr-defined]
        connection.execute(update(table(entity)).where(*whole).values(completed_at=batch.started_at + timedelta(hours=1)))


@mutation("R1", "abort-all")
def documents_are_told_of_in_another_order(connection: Connection, random: random.Random) -> None:
    documents = connection.execute(select(BatchDocument.document_id).order_by(BatchDocument.position)).scalars().all()
    swapped = [documents[1], documents[0], *documents[2:]]
    tell_in_order(connection, lambda rows: by_document(rows, swapped))


@mutation("R1", "abort-all")
def documents_are_worked_on_two_at_a_time(connection: Connection, random: random.Random) -> None:
    tell_in_order(connection, starts_first)


@mutation("R1", "retry-failed")
def a_document_is_retried_before_the_round_has_ended(connection: Connection, random: random.Random) -> None:
    documents = connection.execute(select(BatchDocument.document_id).order_by(BatchDocument.position)).scalars().all()
    tell_in_order(connection, lambda rows: by_document(rows, list(documents)))


@mutation("R1", "retry-failed")
def an_attempt_is_made_before_the_round_has_ended(connection: Connection, random: random.Random) -> None:
    order = {row.document_id: row.position for row in connection.execute(select(table(BatchDocument)))}

    def moments(number: int, row: Row[Any]) -> tuple[float, float]:
        start = order[row.input["documentId"]] + row.attempt / 10
        return start, start + 0.05

    place_attempts(connection, moments)


@mutation("R1", "continue-on-failure")
def more_documents_have_places_than_there_are(connection: Connection, random: random.Random) -> None:
    tell_in_order(connection, starts_first)


@mutation("R1", "continue-on-failure")
def a_document_that_waits_lends_its_place(connection: Connection, random: random.Random) -> None:
    """Every document's first attempt comes before any's second, four of which wait by then."""
    place_attempts(connection, lambda number, row: (row.attempt * 2 + number / 100, row.attempt * 2 + number / 100 + 0.005))


@mutation("R1", "retry-failed")
def more_attempts_are_in_work_than_may_be(connection: Connection, random: random.Random) -> None:
    place_attempts(connection, lambda number, row: (row.attempt * 2 + number / 100, row.attempt * 2 + 1))


@mutation("R1", "continue-on-failure")
def documents_start_out_of_the_requests_order(connection: Connection, random: random.Random) -> None:
    documents = connection.execute(select(BatchDocument.document_id).order_by(BatchDocument.position)).scalars().all()
    tell_in_order(connection, lambda rows: by_document(rows, list(documents)[::-1]))


@mutation("R1", "continue-on-failure")
def one_document_at_a_time_is_in_work(connection: Connection, random: random.Random) -> None:
    order = {row.document_id: row.position for row in connection.execute(select(table(BatchDocument)))}

    def moments(number: int, row: Row[Any]) -> tuple[float, float]:
        start = order[row.input["documentId"]] * 40 + {1: 0.0, 2: 0.9, 3: 1.9, 4: 3.5}[row.attempt]
        return start, start + 0.2

    place_attempts(connection, moments)


@mutation("R1", "continue-on-failure")
def an_attempt_comes_after_another_wait(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity, WorkflowActivity.attempt > 1)
    late = {"started_at": row.started_at + timedelta(minutes=1), "completed_at": row.completed_at + timedelta(minutes=1)}
    change(connection, WorkflowActivity, row, **late)


@mutation("R1", "abort-all")
def an_attempt_comes_without_a_wait(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity, WorkflowActivity.attempt == 4)
    before = connection.execute(
        select(table(WorkflowActivity)).where(WorkflowActivity.execution_id == row.execution_id, WorkflowActivity.attempt == 3)
    ).one()
    change(connection, WorkflowActivity, row, started_at=before.completed_at)


@mutation("R2")
def the_extractor_is_called_more_often_than_attempts_are_recorded(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, TapeRow)
    again(connection, TapeRow, row, attempt=row.attempt + 70)


# --- Events ---------------------------------------------------------------------------------------------------------------


@mutation("R7")
def an_event_names_another_batch(connection: Connection, random: random.Random) -> None:
    event_change(connection, some(connection, random, BatchEventRow), batchId="another")


@mutation("R7")
def an_event_has_no_timestamp(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, BatchEventRow)
    change(connection, BatchEventRow, row, payload={name: value for name, value in row.payload.items() if name != "timestamp"})


@mutation("R7")
def an_event_has_a_timestamp_that_is_none(connection: Connection, random: random.Random) -> None:
    event_change(connection, some(connection, random, BatchEventRow), timestamp="yesterday")


@mutation("R7")
def timestamps_run_backwards(connection: Connection, random: random.Random) -> None:
    event_change(connection, terminal(connection), timestamp="2020-01-01T00:00:00Z")


# --- Rows -----------------------------------------------------------------------------------------------------------------


def batch_row(connection: Connection, random: random.Random) -> Row[Any]:
    return some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "batch_extraction")


@mutation("R3")
def a_mode_is_missing(connection: Connection, random: random.Random) -> None:
    row = batch_row(connection, random)
    values = {name: value for name, value in row.input.items() if name != "executionMode"}
    change(connection, WorkflowExecution, row, input=values)


@mutation("R3")
def a_mode_is_a_new_word(connection: Connection, random: random.Random) -> None:
    row = batch_row(connection, random)
    change(connection, WorkflowExecution, row, input={**row.input, "executionMode": "turbo"})


STATUSES = ("pending", "running", "completed", "failed", "cancelled", "skipped")


@mutation("R3")
def an_execution_of_a_document_too_many(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowExecution, WorkflowExecution.workflow_type == "extraction")
    again(connection, WorkflowExecution, row, id=new_id("knowledge_workflow_execution"), status=random.choice(STATUSES))


@mutation("R3")
def an_execution_that_names_the_batch_too_many(connection: Connection, random: random.Random) -> None:
    row = batch_row(connection, random)
    stray = {"id": new_id("knowledge_workflow_execution"), "workflow_type": "extraction", "status": random.choice(STATUSES)}
    again(connection, WorkflowExecution, row, **stray)


@mutation("R3")
def an_attempt_of_no_execution(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    stray = {"id": new_id("knowledge_workflow_activity"), "execution_id": new_id("knowledge_workflow_execution")}
    again(connection, WorkflowActivity, row, **stray, status=random.choice(STATUSES))


@mutation("R3")
def an_attempt_of_the_batch_itself(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    stray = {"id": new_id("knowledge_workflow_activity"), "execution_id": batch_row(connection, random).id}
    again(connection, WorkflowActivity, row, **stray, status=random.choice(STATUSES))


@mutation("R3")
def a_mention_of_no_extraction(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, MentionRecord)
    stray = {"id": new_id("knowledge_mention_record"), "extraction_id": new_id("knowledge_extraction")}
    again(connection, MentionRecord, row, **stray)


@mutation("R3")
def a_duration_is_negative(connection: Connection, random: random.Random) -> None:
    change(connection, WorkflowActivity, some(connection, random, WorkflowActivity), duration_ms=-1)


@mutation("R3")
def an_extraction_took_less_than_no_time(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome, DocumentOutcome.outcome == "succeeded")
    extraction = copy.deepcopy(row.extraction)
    extraction["stats"]["durationMs"] = -1
    change(connection, DocumentOutcome, row, extraction=extraction)


@mutation("R3")
def a_moment_lies_before_the_batch_began(connection: Connection, random: random.Random) -> None:
    entity, columns = random.choice(
        [
            (DocumentOutcome, ("started_at",)),
            (WorkflowActivity, ("started_at", "created_at")),
            (MentionRecord, ("extracted_at", "created_at")),
            (WorkflowExecution, ("started_at",)),
            (BatchExecution, ("started_at",)),
        ]
    )
    row = some(connection, random, entity)
    name = random.choice(columns)
    change(connection, entity, row, **{name: row._mapping[name] - timedelta(days=1)})


@mutation("R3")
def a_moment_lies_after_the_batch_ended(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, DocumentOutcome)
    change(connection, DocumentOutcome, row, ended_at=row.ended_at + timedelta(days=1))


@mutation("R3")
def an_id_is_of_another_form(connection: Connection, random: random.Random) -> None:
    entity = random.choice([WorkflowActivity, WorkflowExecution])
    where = [WorkflowExecution.workflow_type == "batch_extraction"] if entity is WorkflowExecution else []
    row = some(connection, random, entity, *where)
    change(connection, entity, row, id=random.choice(["17", row.id.upper(), row.id.replace("__", "_")]))


@mutation("R3")
def an_id_is_no_uuid_of_the_fourth_version(connection: Connection, random: random.Random) -> None:
    row = some(connection, random, WorkflowActivity)
    change(connection, WorkflowActivity, row, id=f"knowledge_workflow_activity__{uuid.uuid1()}")


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
    request: pytest.FixtureRequest, database_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Pair]]:
    """A batch and its shadow, under each policy."""
    with ExitStack() as stack:
        made = {}
        for policy in POLICIES:
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
        patch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.02")
        patch.setenv(faults.DOOR, str(folder / "door"))
        config = {"failurePolicy": policy, "enableEntityResolution": True}
        # Under abort-all the first document that fails for good is the last.
        documents = faults.SCRIPTS["mixed"] if policy != "abort-all" else faults.SCRIPTS["mixed"][:5]
        request = {"batchId": BATCH, "organizationId": "o", "ontologyId": "o", "documents": documents, "config": config}
        params = BatchParams.parse(request)
        main, shadow = Store.from_settings(), Store.of_shadows()
        work_through(main, params, Mode.SHADOW, load_extractor(faults.NAME))
        # A shadow by a runtime that keeps the contract, whatever becomes of the engine.
        work_through(shadow, params, Mode.ENGINE, Tape(main.database, BATCH, shadow.database))
        report = compare_batch(main, shadow, BATCH)
        assert (report.verdict, report.samples) == ("parity", {}), render.markdown(report)
        for store in (main, shadow):
            store.database.engine.dispose()


def work_through(store: Store, params: BatchParams, mode: Mode, extractor: Extractor) -> None:
    claim = store.claim(params, Decision(mode, "a test"))
    assert claim is not None
    with Recorder(store, claim, Settings.load().retry_base_seconds) as recorder:
        legacy.run(recorder, extractor)


# Policies take turns, so that each risk is changed under both owners.
TURNS = [
    pytest.param(policy or POLICIES[turn % 2], name, risk, alter, id=name)
    for turn, (name, risk, policy, alter) in enumerate(MUTATIONS)
]


@pytest.mark.parametrize(("policy", "name", "risk", "alter"), TURNS)
def test_a_change_of_the_engines_side_is_reported_in_its_risk(
    pairs: dict[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, name: str, risk: str, alter: Change
) -> None:
    monkeypatch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.02")
    with pairs[policy].copied(tmp_path) as url:
        legacy_side, engine_side = Store(Database(url)), Store(Database(url, SHADOW))
        with engine_side.database.write() as connection:
            alter(connection, random.Random(f"{policy} {name}"))  # noqa: S311 -- seeded, so that it can be run again
        report = compare_batch(legacy_side, engine_side, BATCH)
        for store in (legacy_side, engine_side):
            store.database.engine.dispose()
    assert report.verdict == "diverged"
    assert report.counts[risk] > 0, json.dumps(report.to_dict()["samples"], indent=1)


def test_mentions_that_a_version_before_wrote_are_those_of_their_shadow(pairs: dict[str, Pair], tmp_path: Path) -> None:
    with pairs[POLICIES[0]].copied(tmp_path) as url:
        main, shadow = Store(Database(url)), Store(Database(url, SHADOW))
        with main.database.write() as connection:
            for row in connection.execute(select(table(MentionRecord))).all():
                # Then the first half was as much its own as the second.
                first = content_hash(row.id)[:8]
                change(connection, MentionRecord, row, id=row.id.replace(row.id[26:34], first))
        assert compare_batch(main, shadow, BATCH).verdict == "parity"
        for store in (main, shadow):
            store.database.engine.dispose()


# What no two reports share.
OF_ITS_OWN = ("report_id", "created_at", "duration_seconds")


def report_in_blocks(url: str, size: int) -> str:
    """Return the report of a comparison that has ``size`` documents, events or neighbours in memory, but for what is its own."""
    legacy_side, engine_side = Store(Database(url)), Store(Database(url, SHADOW))
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((side, "BLOCK"), (side, "IDS"), (names, "IDS"), (log, "NEIGHBOURS")):
            patch.setattr(module, name, size)
        patch.setattr(pages, "__defaults__", (size,))
        found = compare_batch(legacy_side, engine_side, BATCH).to_dict()
    assert found["verdict"] == "diverged"
    for store in (legacy_side, engine_side):
        store.database.engine.dispose()
    return json.dumps({name: value for name, value in found.items() if name not in OF_ITS_OWN}, indent=1)


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        *(pytest.param(policy, [each[-1] for each in MUTATIONS], id=f"all at once, {policy}") for policy in POLICIES),
        *(pytest.param(turn.values[0], [turn.values[-1]], id=turn.id, marks=pytest.mark.slow) for turn in TURNS),
    ],
)
def test_a_report_in_blocks_is_the_report_made_whole(
    pairs: dict[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, changes: list[Change]
) -> None:
    monkeypatch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.02")
    drawn = random.Random(policy)  # noqa: S311 -- seeded, so that it can be run again
    made = 0
    with pairs[policy].copied(tmp_path) as url:
        shadow = Database(url, SHADOW)
        with shadow.write() as connection:
            for alter in changes:
                # After others a change may find nothing that it can change; how many did is asserted.
                with suppress(Exception), connection.begin_nested():
                    alter(connection, drawn)
                    made += 1
        shadow.engine.dispose()
        assert report_in_blocks(url, 1) == report_in_blocks(url, 1_000)
    assert made > len(changes) / 2


def test_the_corpus_is_large_enough() -> None:
    assert len(MUTATIONS) >= 80
    assert {risk for _, risk, *_ in MUTATIONS} == {"R1", "R2", "R3", "R4", "R7"}


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
        assert (report.verdict, report.samples) == ("parity", {}), render.markdown(report)
