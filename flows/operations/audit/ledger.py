"""The attempts on record against the policies' budgets."""

from collections import defaultdict
from dataclasses import dataclass

from compat.cutover.attempts import breaches, is_over_budget
from compat.policy import retry_policy
from compat.store import Store
from compat.store.models import ModelStore
from flows.operations.audit.rules import Finding


@dataclass
class OwnerLedger:
    """What one retry owner's documents cost. ``attempts`` were made at the extractor's door, the retried ones included."""

    owner: str
    batches: int = 0
    documents: int = 0
    attempts: int = 0
    over_budget: int = 0


def audit_ledger(store: Store, batch_id: str | None = None) -> tuple[list[OwnerLedger], list[Finding]]:
    """Return the attempts on record owner by owner, and a finding for each document whose attempts don't add up.

    Raises BatchNotFoundError.
    """
    owners: dict[str, OwnerLedger] = {}
    findings: list[Finding] = []
    batches: defaultdict[str, set[str]] = defaultdict(set)
    for document in store.attempts(batch_id):
        policy = retry_policy(document.config)
        ledger = owners.setdefault(policy.owner, OwnerLedger(policy.owner))
        batches[policy.owner].add(document.batch_id)
        ledger.documents += 1
        ledger.attempts += len(document.attempts)
        where = f"batch {document.batch_id}, document {document.document_id}"
        look = f"look at its rows: knowledge_workflow_activity of execution {document.execution_id}"
        findings += [Finding(where, what, look) for what in breaches(document)]
        ledger.over_budget += sum(is_over_budget(document, len(made)) for made in document.by_generation().values())
    for each in ModelStore(store.database).repeated(batch_id):
        where = f"batch {each.batch_id}, document {each.document_id}"
        what = f"{each.calls} calls for chunk {each.chunk}, stage {each.stage} of attempt {each.attempt}, where one was due"
        findings.append(Finding(where, what, f"look at knowledge-batch calls {each.batch_id}"))
    for owner, ledger in owners.items():
        ledger.batches = len(batches[owner])
    return list(owners.values()), findings
