"""Legacy against legacy: the same batch several times over, each run in a store that is thrown away."""

import tempfile
from itertools import combinations

import legacy
from compat.contracts import utc_now
from compat.database import Database
from compat.intake import Request
from compat.modes import Decision, Mode
from compat.parity.baseline import Baseline, measure
from compat.parity.diff import Rules, compare
from compat.parity.frames import Side, frames_of
from compat.recorder import Recorder
from compat.settings import Settings
from compat.store import Store
from flows import sources
from tasks.extraction import load_extractor

# The same in every run: ids of mentions and entities are made of it.
BATCH_ID = "baseline"


def measured(source: str, ontology: str, runs: int, settings: Settings) -> tuple[Baseline, str]:
    """Runs legacy on a source ``runs`` times and compares every pair. Returns the noise, and the ontologies' hash.

    Raises InvalidInputError for a source that can't be read.
    """
    request = sources.load(source, ontology).request(BATCH_ID, {})
    sides: list[Side] = []
    with tempfile.TemporaryDirectory(prefix="knowledge-baseline-") as folder:
        for number in range(runs):
            store = Store(Database(f"sqlite:///{folder}/{number}.db"), settings.lease_seconds)
            _run(store, request, settings)
            sides.append(frames_of(store, BATCH_ID))
            ontology_hash = store.ontologies_hash(BATCH_ID)
            store.database.engine.dispose()
    today = utc_now().date()
    pairs = [(one, other, compare(one, other, Rules(), today)) for one, other in combinations(sides, 2)]
    return measure(sides, pairs), ontology_hash


def _run(store: Store, request: Request, settings: Settings) -> None:
    claim = store.claim(request, Decision(Mode.LEGACY, "a baseline's run"))
    assert claim is not None  # noqa: S101 -- the store is new
    with Recorder(store, claim, settings.retry_base_seconds) as recorder:
        legacy.run(recorder, load_extractor(settings.extractor))
