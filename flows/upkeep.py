"""The names by which deployments and others call reconciliation; it lives in ``flows.operations.reconcile``."""

from flows.operations.reconcile import reconcile, reconcile_batches

__all__ = ["reconcile", "reconcile_batches"]
