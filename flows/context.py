"""What one call works with: made once, as the call comes in, and handed down."""

from dataclasses import dataclass, field

from compat.contracts import Extractor
from compat.errors import BatchNotFoundError
from compat.modes import Decision, decide
from compat.modes.ramp import Ramp
from compat.proxies import keep_loopback_direct
from compat.recording.lease import StopRequest
from compat.settings import Settings
from compat.store import Store
from compat.store.failures import infrastructure
from flows.host import Host, find_host
from tasks.run_on import place_extractor


@dataclass(frozen=True)
class BatchContext:
    """The parts that one batch is served with.

    Attributes:
        batch_id: The batch, which needn't be stored yet.
        settings: The environment's settings at the time of the call.
        store: Where the batch's rows are.
        extractor: What does one document's work. Its factory was called for this batch and no other.
        decision: The mode, and who chose it.
        host: The flow run around the caller, or none.
        stop: Where the batch is asked to stop, by a signal or by whoever called.
    """

    batch_id: str
    settings: Settings
    store: Store
    extractor: Extractor
    decision: Decision
    host: Host
    stop: StopRequest = field(default_factory=StopRequest)

    @classmethod
    def open(
        cls,
        batch_id: str,
        mode: str | None,
        organization_id: str | None = None,
        stop: StopRequest | None = None,
        operation: str = "batch_create_execution",
    ) -> "BatchContext":
        """Return the context of a call that runs a batch. Everything that can be wrong is found before anything is written.

        Args:
            batch_id: The batch, stored or not.
            mode: The mode that the caller asks for, if any.
            organization_id: Whose batch it is; None for a stored batch, whose row says so.
            stop: Where the batch can be asked to stop; by default only signals do.
            operation: What fails if the database does; the advice in the error depends on it.

        Raises InvalidInputError for a mode or setting, ExtractorNotFoundError, and BatchInfrastructureError where the database
        can't be reached.
        """
        keep_loopback_direct()
        settings = Settings.load()
        # Before the store is opened, which makes its file.
        decide(mode, settings.workflow_mode, None, None)
        extractor = place_extractor(settings)
        with infrastructure(batch_id, operation):
            store = Store.from_settings(settings)
            decision = decided(mode, settings, store, batch_id, organization_id)
        return cls(batch_id, settings, store, extractor, decision, find_host(), stop or StopRequest())


def open_store(batch_id: str, operation: str, hint: str | None = None) -> Store:
    """Return the store; a database that can't be reached is an error about the batch that it was opened for."""
    with infrastructure(batch_id, operation, hint):
        return Store.from_settings()


def decided(
    mode: str | None, settings: Settings, store: Store, batch_id: str | None = None, organization_id: str | None = None
) -> Decision:
    """Return the mode of a batch, or of the next one if none is named, by the stored switches and the ramp too."""
    switches = store.switches()
    ramp = Ramp.from_switches(switches)
    if ramp.organizations and batch_id is not None and organization_id is None:
        organization_id = _organization(store, batch_id)
    stored, demotion = switches.get("mode"), switches.get("demotion")
    return decide(mode, settings.workflow_mode, stored, demotion, ramp, batch_id, organization_id)


def _organization(store: Store, batch_id: str) -> str | None:
    try:
        return store.batch(batch_id).organization_id
    except BatchNotFoundError:
        return None
