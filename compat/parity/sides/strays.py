"""Rows that look like a batch's but don't belong to it: an old reader would count them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from compat.ids import document_execution_id, extraction_id
from compat.store.database import Database
from compat.store.schema import BatchDocument, MentionRecord, WorkflowActivity, WorkflowExecution
from compat.store.sql import blocks

BLOCK = 200


def breaches(
    database: Database, batch_id: str, execution_id: str, organization_id: str, window: tuple[datetime, datetime | None]
) -> dict[str, str]:
    """Return, by table, how many rows there are of no attempt of the batch, whatever their status, and the first of them.

    A row is taken for the batch's where it names the batch, or one of its documents while the batch was worked on, in its
    organization. Other batches' rows of the same documents are theirs.
    """
    began, ended = window
    found: dict[str, str] = {}
    for table, document, parent, parent_of in (
        (WorkflowExecution, _document_of(WorkflowExecution), WorkflowExecution.id, document_execution_id),
        (WorkflowActivity, _document_of(WorkflowActivity), WorkflowActivity.execution_id, document_execution_id),
        (MentionRecord, MentionRecord.document_id, MentionRecord.extraction_id, extraction_id),
    ):
        here = [table.organization_id == organization_id, table.created_at >= began]
        if ended is not None:
            here.append(table.created_at <= ended)
        strangers = _strangers(database, batch_id, table, document, parent, parent_of, here)
        ids = [*strangers, *_naming_the_batch(database, batch_id, execution_id, table)]
        if ids:
            found[f"stray_rows_of_{table.__tablename__}"] = f"{len(ids)} rows of no attempt of this batch, such as {min(ids)}"
    return found


def _document_of(table: Any) -> Any:
    return table.input["documentId"].as_string()


def _strangers(
    database: Database,
    batch_id: str,
    table: Any,
    document: Any,
    parent: Any,
    parent_of: Callable[[str, str], str],
    here: Sequence[ColumnElement[bool]],
) -> Iterator[str]:
    """Iterate over rows of the batch's documents under a parent that is no batch's."""
    query = (
        select(table.id, document.label("document_id"), parent.label("parent"))
        .join(BatchDocument, BatchDocument.document_id == document)
        .where(BatchDocument.batch_id == batch_id, *here)
    )
    with database.stream() as connection:
        unknown = [row for row in connection.execute(query) if row.parent != parent_of(batch_id, row.document_id)]
    for block in blocks(unknown, BLOCK):
        asked = select(BatchDocument.batch_id, BatchDocument.document_id)
        asked = asked.where(BatchDocument.document_id.in_({row.document_id for row in block}))
        with database.read() as connection:
            known = {parent_of(*row) for row in connection.execute(asked).tuples()}
        yield from (row.id for row in block if row.parent not in known)


def _naming_the_batch(database: Database, batch_id: str, execution_id: str, table: Any) -> Iterator[str]:
    """Iterate over rows that name the batch itself, which none but its one row does."""
    if table is WorkflowExecution:
        named = [table.input["batchId"].as_string() == batch_id, table.workflow_type != "batch_extraction"]
    elif table is WorkflowActivity:
        named = [or_(table.execution_id.in_((execution_id, batch_id)), table.input["batchId"].as_string() == batch_id)]
    else:
        named = [table.extraction_id.in_((execution_id, batch_id))]
    with database.read() as connection:
        yield from connection.execute(select(table.id).where(*named)).scalars()
