"""Whether a document's attempts on record are those that its one owner may have made. Pure."""

from collections import Counter
from collections.abc import Iterator

from compat.policy import retry_policy
from compat.store.reading import DocumentAttempts


def breaches(document: DocumentAttempts) -> Iterator[str]:
    """Yield what is wrong with a document's attempts: their owner, their numbers, their budget, their order."""
    policy = retry_policy(document.config)
    if document.owner not in (None, policy.owner):
        yield f"its row names the owner {document.owner}, its policy {policy.owner}"
    generations = document.by_generation()
    finished = sum(attempt.status in ("completed", "failed") for attempt in generations.get(document.generation, ()))
    if document.outcome and finished != document.counted:
        yield f"its outcome counts {document.counted} attempts, {finished} are on record"
    for made in generations.values():
        again = [number for number, times in Counter(attempt.number for attempt in made).items() if times > 1]
        if again:
            yield f"attempt {again[0]} is on record more than once"
        if is_over_budget(document, len(made)):
            yield f"{len(made)} attempts, its budget is {policy.attempts}"
        succeeded = [attempt.number for attempt in made if attempt.status == "completed"]
        if succeeded and max(attempt.number for attempt in made) > succeeded[0]:
            yield f"was tried again after attempt {succeeded[0]} had succeeded"


def is_over_budget(document: DocumentAttempts, made: int) -> bool:
    """Return whether so many attempts of one generation are more than the policy gives."""
    return made > retry_policy(document.config).attempts
