"""The attempts on record against the policies' budgets."""

from collections import Counter, defaultdict
from dataclasses import dataclass

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
        if document.owner not in (None, policy.owner):
            findings.append(Finding(where, f"its row names the owner {document.owner}, its policy {policy.owner}", look))
        generations = document.by_generation()
        finished = sum(attempt.status in ("completed", "failed") for attempt in generations.get(document.generation, ()))
        if document.outcome and finished != document.counted:
            findings.append(Finding(where, f"its outcome counts {document.counted} attempts, {finished} are on record", look))
        for made in generations.values():
            again = [number for number, times in Counter(attempt.number for attempt in made).items() if times > 1]
            if again:
                findings.append(Finding(where, f"attempt {again[0]} is on record more than once", look))
            if len(made) > policy.attempts:
                ledger.over_budget += 1
                findings.append(Finding(where, f"{len(made)} attempts, its budget is {policy.attempts}", look))
            succeeded = [attempt.number for attempt in made if attempt.status == "completed"]
            if succeeded and max(attempt.number for attempt in made) > succeeded[0]:
                findings.append(Finding(where, f"was tried again after attempt {succeeded[0]} had succeeded", look))
    for each in ModelStore(store.database).repeated(batch_id):
        where = f"batch {each.batch_id}, document {each.document_id}"
        what = f"{each.calls} calls for chunk {each.chunk}, stage {each.stage} of attempt {each.attempt}, where one was due"
        findings.append(Finding(where, what, f"look at knowledge-batch calls {each.batch_id}"))
    for owner, ledger in owners.items():
        ledger.batches = len(batches[owner])
    return list(owners.values()), findings
