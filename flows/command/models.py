"""What the command says of models: an estimate before a run, and the calls of a batch."""

import os

from pydantic.alias_generators import to_camel
from rich.table import Table
from sqlalchemy.engine import make_url

from compat.errors import InvalidInputError, Problem
from compat.settings import Settings
from compat.store import Store
from compat.store.database import database
from compat.store.intake import Request
from compat.store.models import ModelStore
from compat.store.models.ledger import CallTotals
from flows.command.terminal import BatchId, Format, check_format, note, plain, print_json, show

_HEADINGS = ("time (UTC)", "document", "chunk", "stage", "attempt", "outcome", "tokens in", "out", "cached", "ms", "error")


def print_estimate(request: Request, settings: Settings, format: str) -> None:
    """Say what the batch would take of the model, and run nothing."""
    if settings.extractor != "llm":
        advice = "only the llm extractor asks a model; add --extractor llm"
        raise InvalidInputError([Problem("--estimate", settings.extractor, advice)])
    from tasks.extraction.llm.client import client_of
    from tasks.extraction.llm.estimate import estimate

    found = estimate(request.documents, settings, client_of(settings), _store_if_there(settings))
    if format == "json":
        print_json({**found.__dict__, "tokens": found.tokens})
        return
    table = Table.grid(padding=(0, 2))
    unreadable = f" ({found.unreadable} with an ontology that can't be read)" if found.unreadable else ""
    table.add_row("documents", f"{found.documents}{unreadable}")
    table.add_row("chunks", str(found.chunks))
    table.add_row("calls", f"{found.calls} ({found.stored} answered from the store)")
    table.add_row("tokens", f"about {found.tokens} ({found.tokens_in} in, {found.tokens_out} out)")
    if found.cost is not None:
        table.add_row("cost", f"about {found.cost:.2f}")
    show(table)


def _store_if_there(settings: Settings) -> ModelStore | None:
    """Return the store, or None if opening it would create its file."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite" and not os.path.exists(url.database or ""):
        return None
    return ModelStore(database(settings.url))


def call_rows(store: Store, batch_id: str, settings: Settings) -> list[tuple[str, str]]:
    """Return the totals of a batch's calls as rows of a table; none if it called no model."""
    totals = ModelStore(store.database).totals(batch_id)
    if not (totals.made or totals.stored):
        return []
    made = f"{totals.made} made, {totals.stored} answered from the store, {totals.refused} refused, {totals.failed} failed"
    tokens = f"{totals.tokens} ({totals.tokens_in} in, of these {totals.tokens_cached} cached; {totals.tokens_out} out)"
    cost = totals.cost(settings.llm_price_in, settings.llm_price_out)
    rows = [("calls", made), ("tokens", tokens), ("paid twice", str(totals.paid_twice))]
    return rows if cost is None else [*rows, ("cost", f"{cost:.4f}")]


def totals_json(totals: CallTotals, settings: Settings) -> dict[str, object]:
    """Return the totals of a batch's calls as JSON."""
    cost = totals.cost(settings.llm_price_in, settings.llm_price_out)
    return {
        "made": totals.made,
        "stored": totals.stored,
        "refused": totals.refused,
        "failed": totals.failed,
        "tokens": totals.tokens,
        "tokensIn": totals.tokens_in,
        "tokensOut": totals.tokens_out,
        "tokensCached": totals.tokens_cached,
        "paidTwice": totals.paid_twice,
        "cost": cost,
    }


def calls(batch_id: BatchId, format: Format = "table") -> None:
    """Print the calls that a batch made to a model, or had answered from the store."""
    check_format(format)
    settings = Settings.load()
    store = Store.from_settings(settings)
    # Raises if there is no such batch.
    store.state(batch_id)
    models = ModelStore(store.database)
    if format == "json":
        rows = [{**call.__dict__, "created_at": str(call.created_at)} for call in models.calls(batch_id)]
        named = [{to_camel(name): value for name, value in row.items()} for row in rows]
        print_json({"totals": totals_json(models.totals(batch_id), settings), "calls": named})
        return
    table = Table(box=None, pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading)
    for call in models.calls(batch_id):
        numbers = (call.tokens_in, call.tokens_out, call.tokens_cached, call.duration_ms)
        when = f"{call.created_at:%H:%M:%S}"
        head = (when, call.document_id, call.chunk, call.stage, str(call.attempt), call.outcome)
        table.add_row(*plain(*head, *map(str, numbers), call.error or ""))
    show(table)
    for name, value in call_rows(store, batch_id, settings):
        note(f"{name}: {value}")
