"""All that the llm extractor keeps in the store: answers, the ledger of calls, and the limits of providers."""

from compat.store.models.answers import Answers
from compat.store.models.exchange import Exchange
from compat.store.models.ledger import Ledger
from compat.store.models.limits import Limiter


class ModelStore(Answers, Exchange, Ledger, Limiter):
    """All of them in one database."""


__all__ = ["Answers", "Exchange", "Ledger", "Limiter", "ModelStore"]
