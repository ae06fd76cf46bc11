"""Ids of the form ``<slice>_<name>__<uuid4>`` (CONTRACT 1): fresh ones, and ones derived from content."""

import hashlib
import uuid

_MENTION = "knowledge_mention_record"


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
    digits = digest.hexdigest()
    # As uuid.UUID(bytes=…, version=4) has it, in half the time; a document has many ids.
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{kind}__{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def content_hash(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def document_execution_id(batch_id: str, document_id: str) -> str:
    """Return the id of a document's execution row."""
    return derived_id("knowledge_workflow_execution", batch_id, document_id)


def extraction_id(batch_id: str, document_id: str) -> str:
    """Return the id of one document's extraction."""
    return derived_id("knowledge_extraction", batch_id, document_id)


def mention_id(extraction: str, entity: str, number: int) -> str:
    """Return the id of a mention of an extraction's entity, by its number among them.

    It begins as its extraction's id does: the mentions of a document stand side by side in the key's index, so writing them
    changes one page of it and not one for each.
    """
    own = unordered_mention_id(extraction, entity, number)
    return f"{_MENTION}__{extraction[-36:-18]}{own[-18:]}"


def unordered_mention_id(extraction: str, entity: str, number: int) -> str:
    """Return the id that a mention had before ids of mentions began as their extraction's; batches under way may have some."""
    return derived_id(_MENTION, extraction, entity, str(number))
