"""The retry audit (R2): every attempt at a document has one owner. Read from the code, from Prefect's settings, from the rows."""

import tokenize
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compat.store import Store
from flows.operations.audit.ledger import OwnerLedger, audit_ledger
from flows.operations.audit.reach import extractor_files, package_files
from flows.operations.audit.rules import Finding
from flows.operations.audit.source import PACKAGES, audit_source

__all__ = ["PACKAGES", "Finding", "OwnerLedger", "RetryAudit", "audit", "audit_ledger", "audit_settings", "audit_source"]


@dataclass(frozen=True)
class RetryAudit:
    """What the audit found, and what it looked at."""

    files: int
    ledger: tuple[OwnerLedger, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON's types."""
        return asdict(self)


def audit(store: Store, extractor: str, batch_id: str | None = None) -> RetryAudit:
    """Audit the code that is installed, Prefect's settings, and a batch or every batch of the store.

    Args:
        store: Where the batches are.
        extractor: ``KNOWLEDGE_EXTRACTOR``; the code of a ``package.module:factory`` is read as well: its package, and what that
            imports from its distribution.
        batch_id: One batch only. Raises BatchNotFoundError.
    """
    files = [*package_files(PACKAGES), *extractor_files(extractor)]
    findings = [finding for path in files for finding in audit_source(_text(path), str(path))]
    ledger, drifted = audit_ledger(store, batch_id)
    return RetryAudit(len(files), tuple(ledger), (*findings, *audit_settings(), *drifted))


def _text(path: Path) -> str:
    # A file may say its own encoding.
    with tokenize.open(path) as file:
        return file.read()


def audit_settings() -> list[Finding]:
    """Return Prefect's default retries that aren't 0, from the environment, a profile or a file."""
    from prefect.settings import PREFECT_FLOWS_DEFAULT_RETRIES, PREFECT_TASKS_DEFAULT_RETRIES

    return [
        Finding(setting.name, f"is {setting.value()}", "a task or flow without retries= gets it as a second owner; set it to 0")
        for setting in (PREFECT_TASKS_DEFAULT_RETRIES, PREFECT_FLOWS_DEFAULT_RETRIES)
        if setting.value()
    ]
