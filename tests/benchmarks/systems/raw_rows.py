"""The floor: the rows of a batch, all of them, written by one thread through the driver alone.

Two transactions a document, one where an attempt begins and one where it ends, each with the lock on the batch's run. Ids,
hashes and JSON are made in between, as anyone must. Nothing is retried, renewed, watched or checked. With ``failing`` the
attempts that fail are written too.
"""

import json
import sqlite3
from typing import Any

from tests.benchmarks.systems.ours import Unit, request
from tests.benchmarks.unit import Case, Clock, FirstAttemptError, given, text_of

BATCH = "batch-0"
RUN = "SELECT owner, cancel_requested_at, next_sequence FROM knowledge_batch_run WHERE batch_id = ?"
DOCUMENT = "SELECT position, text, ontology_hash FROM knowledge_batch_document WHERE batch_id = ? AND document_id = ?"
NUMBERED = "UPDATE knowledge_batch_run SET next_sequence = ? WHERE batch_id = ?"
COUNTED = (
    "UPDATE knowledge_batch_run SET next_sequence = ?, completed_documents = completed_documents + 1,"
    " entity_count = entity_count + ?, relation_count = relation_count + ? WHERE batch_id = ?"
)
# The row that old readers have of the batch, and that holds all document ids, is written as seldom as the recorder does it.
COPIES = 1_000


def insert(table: str, columns: str) -> str:
    return f"INSERT INTO knowledge_{table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"


def update(table: str, columns: str, where: str) -> str:
    return f"UPDATE knowledge_{table} SET {', '.join(f'{name} = ?' for name in columns.split(', '))} WHERE {where}"


EXECUTION_END = update("workflow_execution", "status, output, completed_at, updated_at", "id = ?")
ACTIVITY_END = update("workflow_activity", "status, output, completed_at, updated_at, duration_ms", "id = ?")
OUTCOME_END = update(
    "document_outcome",
    "attempts, outcome, started_at, ended_at, extraction",
    "batch_id = ? AND document_id = ? AND outcome IS NULL",
)
COPIED = update("batch_execution", "completed_documents, entity_count, relation_count, updated_at", "id = ?")
COMMON = "id, organization_id, created_at, updated_at"
EXECUTION = (
    insert("workflow_execution", f"{COMMON}, workflow_type, status, input, started_at, last_activity_name, retry_count")
    + " ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at"
)
ACTIVITY = insert("workflow_activity", f"{COMMON}, execution_id, activity_name, status, input, started_at, attempt")
OUTCOME = insert("document_outcome", "batch_id, document_id, position, generation, attempts") + " ON CONFLICT DO NOTHING"
EVENT = insert("batch_event", "batch_id, sequence, key, document_id, payload, superseded, created_at")
MENTION = insert(
    "mention_record",
    f"{COMMON}, extraction_id, document_id, chunk_index, raw_text, mention_type, confidence, response_hash, extracted_at",
)


class Raw:
    def __init__(self, case: Case, connection: Any, moments_are_text: bool) -> None:
        self.case, self.connection, self.cursor = case, connection, connection.cursor()
        self.is_sqlite = moments_are_text
        self.begin = "BEGIN IMMEDIATE" if moments_are_text else "BEGIN"
        self.lock = RUN if moments_are_text else RUN + " FOR UPDATE"
        self.extractor = Unit()
        self.sequence = 0

    def execute(self, sql: str, *values: Any) -> Any:
        return self.cursor.execute(sql if self.is_sqlite else sql.replace("?", "%s"), values)

    def event(self, key: str, document_id: str, event: Any, now: Any) -> None:
        self.execute(EVENT, BATCH, self.sequence, key, document_id, event.model_dump_json(), False, now)
        self.sequence += 1

    def document(self, number: int) -> int:
        """Write a document's attempts. Returns 1."""
        attempt = 1
        while not self.attempt(number, attempt):
            attempt += 1
        return 1

    def attempt(self, number: int, attempt: int) -> bool:
        from compat.contracts import DocumentCompleted, DocumentStarted, PipelineConfig, utc_now
        from compat.ids import content_hash, derived_id, document_execution_id, extraction_id, mention_id

        id = str(number)
        moment = utc_now()
        now = moment.strftime("%Y-%m-%d %H:%M:%S.%f") if self.is_sqlite else moment
        execution = document_execution_id(BATCH, id)
        activity = derived_id("knowledge_workflow_activity", execution, "0", str(attempt))
        self.execute(self.begin)
        self.execute(self.lock, BATCH).fetchone()
        _, text, _ = self.execute(DOCUMENT, BATCH, id).fetchone()
        length = {"documentId": id, "textLength": len(text)}
        given = json.dumps({**length, "organizationId": "o", "ontologyId": "t", "retryOwner": "activity", "retryAttempt": 0})
        self.execute(OUTCOME, BATCH, id, number, 0, 0)
        self.execute(EXECUTION, execution, "o", now, now, "extraction", "running", given, now, "run_extraction_pipeline", 0)
        self.execute(
            ACTIVITY, activity, "o", now, now, execution, "run_extraction_pipeline", "running", json.dumps(length), now, attempt
        )
        if attempt == 1:
            self.event(f"started:{id}:0", id, DocumentStarted(batch_id=BATCH, document_id=id, document_index=number), now)
            self.execute(NUMBERED, self.sequence, BATCH)
        self.execute("COMMIT")
        config = PipelineConfig(document_id=id, organization_id="o", ontology_id="t")
        try:
            extraction = self.extractor.run(text, "", config)
        except FirstAttemptError as error:
            self.execute(self.begin)
            self.execute(self.lock, BATCH).fetchone()
            self.execute(ACTIVITY_END, "failed", json.dumps(str(error)), now, now, 1, activity)
            self.execute("COMMIT")
            return False
        graph = extraction.graph
        entities, relations = len(graph.entities), len(graph.relations)
        output = json.dumps({"entityCount": entities, "relationCount": relations, "mentionCount": entities, "chunkCount": 1})
        as_json, extraction_key = extraction.model_dump_json(), extraction_id(BATCH, id)
        mentions = []
        for entity in graph.entities:
            for k, mention in enumerate(entity.mentions):
                key, digest = mention_id(extraction_key, entity.id, k), mention.model_dump_json()
                found = (mention.chunk_index, mention.text, entity.types[0], mention.confidence, content_hash(digest), now)
                mentions.append((key, "o", now, now, extraction_key, id, *found))
        completed = DocumentCompleted(batch_id=BATCH, document_id=id, entity_count=entities, relation_count=relations)
        self.execute(self.begin)
        self.execute(self.lock, BATCH).fetchone()
        self.execute(ACTIVITY_END, "completed", output, now, now, 1, activity)
        self.execute(EXECUTION_END, "completed", output, now, now, execution)
        self.execute(OUTCOME_END, attempt, "succeeded", now, now, as_json, BATCH, id)
        if number % -(-self.case.documents // COPIES) == 0:
            done = number + 1
            self.execute(COPIED, done, done * entities, done * relations, now, BATCH)
        self.cursor.executemany(MENTION if self.is_sqlite else MENTION.replace("?", "%s"), mentions)
        self.event(f"ended:{id}:0", id, completed, now)
        self.execute(COUNTED, self.sequence, entities, relations, BATCH)
        self.execute("COMMIT")
        return True


def main() -> None:
    case, _ = given()
    from compat.contracts import BatchParams
    from compat.modes import Decision, Mode
    from compat.store import Store

    store = Store.from_settings()
    # Only what there is before the first document: batch, documents, ontology.
    store.claim(BatchParams.parse(request(case, 0, case.documents)), Decision(Mode.LEGACY, "a benchmark"), BATCH)
    url = store.database.engine.url
    if store.database.dialect == "sqlite":
        connection: Any = sqlite3.connect(str(url.database), isolation_level=None)
        # As the store has it; its log is copied as often as by the recorder.
        for pragma in ("journal_mode = wal", "synchronous = normal", "wal_autocheckpoint = 8000", "foreign_keys = on"):
            connection.execute(f"PRAGMA {pragma}")
    else:
        import psycopg

        connection = psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)
        connection.prepare_threshold = 1
    raw = Raw(case, connection, store.database.dialect == "sqlite")
    text_of(0)
    with Clock() as clock:
        done = sum(raw.document(number) for number in range(case.documents))
    clock.report(done, case)


if __name__ == "__main__":
    main()
