"""All that the llm extractor keeps in the store: answers, the ledger of calls, and the limits of providers."""

from compat.store.answers import Answers
from compat.store.ledger import Ledger
from compat.store.limits import Limiter


class ModelStore(Answers, Ledger, Limiter):
    """The three in one database."""
