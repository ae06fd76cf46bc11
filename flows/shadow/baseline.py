"""Legacy against legacy: the same batch several times over, each run in a store that is thrown away."""

import tempfile
from itertools import combinations

import legacy
from compat.contracts import utc_now
from compat.modes import Decision, Mode
from compat.parity.baseline import Baseline, Subject, measure
from compat.parity.diff import Rules, compare_pairs
from compat.parity.sides import pairs
from compat.parity.versions import extractor_hash, versions
from compat.recording.recorder import Recorder
from compat.settings import Settings
from compat.store import Store
from compat.store.database import Database
from compat.store.intake import Request
from flows.sources import readers as sources
from tasks.extraction import load_extractor

# The same in every run: ids of mentions and entities are made of it.
BATCH_ID = "baseline"


def measured(source: str, ontology: str, policy: str, runs: int, settings: Settings) -> Baseline:
    """Run legacy on a source ``runs`` times and compare every pair.

    Raises InvalidInputError for a source that can't be read, or a policy that is none.
    """
    request = sources.load(source, ontology).request(BATCH_ID, {"failurePolicy": policy})
    with tempfile.TemporaryDirectory(prefix="knowledge-baseline-") as folder:
        stores = [Store(Database(f"sqlite:///{folder}/{number}.db"), settings.lease_seconds) for number in range(runs)]
        for store in stores:
            _run(store, request, settings)
        today = utc_now().date()
        known = {document.document_id for document in request.documents}
        found = [
            compare_pairs(pairs(one, other, BATCH_ID, settings.retry_base_seconds), Rules(), today, known)
            for one, other in combinations(stores, 2)
        ]
        code = versions().code + extractor_hash(settings.extractor)
        subject = Subject(stores[0].ontologies_hash(BATCH_ID), policy, settings.extractor, code)
        for store in stores:
            store.database.engine.dispose()
    return measure(subject, runs, found)


def _run(store: Store, request: Request, settings: Settings) -> None:
    claim = store.claim(request, Decision(Mode.LEGACY, "a baseline's run"))
    assert claim is not None  # noqa: S101 -- the store is new
    with Recorder(store, claim, settings.retry_base_seconds) as recorder:
        legacy.run(recorder, load_extractor(settings.extractor))
