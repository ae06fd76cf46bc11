"""Ids of the form ``<slice>_<name>__<uuid4>`` (CONTRACT 1): fresh ones, and ones derived from content."""

import hashlib
import uuid


def new_id(kind: str) -> str:
    """Return a fresh id, e.g. ``new_id("knowledge_batch_execution")``."""
    return f"{kind}__{uuid.uuid4()}"


def derived_id(kind: str, *parts: str) -> str:
    """Return the same id for the same parts, on every machine and in every run.

    A row that is written twice under a derived id is one row, so a document can run again after a crash
    without leaving a second copy behind.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(data).to_bytes(8, "big") + data)
    return f"{kind}__{uuid.UUID(bytes=digest.digest()[:16], version=4)}"


def content_hash(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def document_execution_id(batch_id: str, document_id: str) -> str:
    """Return the id of a document's execution row."""
    return derived_id("knowledge_workflow_execution", batch_id, document_id)


def extraction_id(batch_id: str, document_id: str) -> str:
    """Return the id of one document's extraction."""
    return derived_id("knowledge_extraction", batch_id, document_id)
