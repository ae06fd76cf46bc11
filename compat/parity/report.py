"""Compares what two stores hold of a batch, and says in a report whether the engine did what legacy did."""

import time
from dataclasses import replace

from compat.contracts import utc_now
from compat.ids import content_hash
from compat.parity.baseline import Baseline
from compat.parity.diff import APPROVED, Difference, Findings, Rules, compare_pairs
from compat.parity.frames import KEYS
from compat.parity.grounds import documents_hash
from compat.parity.render import page, summary
from compat.parity.risks import RISKS
from compat.parity.sides import pairs
from compat.parity.tape import tape_gaps
from compat.parity.verdict import Channel, ParityReport, Stage, Verdict
from compat.parity.versions import versions
from compat.settings import Settings
from compat.store import Store

__all__ = ["Channel", "ParityReport", "Stage", "Verdict", "compare_batch", "engine_failed", "no_comparison", "page"]


def compare_batch(
    legacy: Store,
    engine: Store,
    batch_id: str,
    channel: Channel = "tape",
    rules: Rules = APPROVED,
    baseline: Baseline | None = None,
    retry_base_seconds: float | None = None,
) -> ParityReport:
    """Compare what two stores hold of a batch, and both with what the contract says of any batch.

    Args:
        legacy: The store that served the batch.
        engine: The shadow's store, which should have the batch under the same id; one that lost it differs in all of it.
        batch_id: Raises BatchNotFoundError where legacy has none.
        channel: ``tape``: every difference counts. ``live``: the extractor ran again, so differences in what it
            gives count only above the noise of the baseline.
        rules: Tolerances and columns that are left out; what is approved, if anything, by default.
        baseline: Legacy against legacy; without one a live comparison with differences is inconclusive.
        retry_base_seconds: What the waits before retries are multiples of; KNOWLEDGE_RETRY_BASE_SECONDS by default.
    """
    began = time.monotonic()
    empty = _report(legacy, batch_id, channel, rules)
    base = Settings.load().retry_base_seconds if retry_base_seconds is None else retry_base_seconds
    noise, known = 0, baseline.documents if baseline is not None else frozenset[str]()
    found = compare_pairs(pairs(legacy, engine, batch_id, base), rules, empty.created_at.date(), known)
    if channel == "live" and baseline is not None:
        found, noise = baseline.above_noise(found)
    by_frame = found.by_frame()
    gaps = tape_gaps(legacy, batch_id) if channel == "tape" else 0
    verdict, headline = _verdict(found, channel, baseline, gaps)
    return replace(
        empty,
        verdict=verdict,
        headline=headline,
        documents=found.documents,
        attempts=found.attempts["legacy"],
        retries=found.retries["legacy"],
        counts=found.by_risk(),
        samples={risk: found.first(risk) for risk in RISKS if found.first(risk)},
        by_document=found.by_document(),
        stages={name: Stage(found.rows[name], by_frame[name]) for name in KEYS},
        duration_seconds=time.monotonic() - began,
        noise=noise,
    )


def no_comparison(legacy: Store, batch_id: str, channel: Channel, reason: str) -> ParityReport:
    """Return the report of a batch that could not be compared, which is no evidence. Raises BatchNotFoundError."""
    return replace(_report(legacy, batch_id, channel, APPROVED), headline=reason)


def engine_failed(legacy: Store, batch_id: str, channel: Channel, error: Exception) -> ParityReport:
    """Return the report of a batch that legacy served and the engine's machinery failed on. Raises BatchNotFoundError."""
    reason = f"{type(error).__name__}: {error}"
    state = type(legacy.state(batch_id)).__name__
    difference = Difference("R1", "changed", "batch", (batch_id,), "state", state, f"the engine failed: {reason}")
    return replace(
        _report(legacy, batch_id, channel, APPROVED),
        verdict="diverged",
        headline=f"the engine failed on it: {reason}",
        counts={**dict.fromkeys(RISKS, 0), "R1": 1},
        samples={"R1": (difference,)},
    )


def _report(legacy: Store, batch_id: str, channel: Channel, rules: Rules) -> ParityReport:
    """Return what is the same in every report of a batch, before anything was compared."""
    now, config = utc_now(), legacy.config(batch_id)
    return ParityReport(
        batch_id=batch_id,
        channel=channel,
        verdict="inconclusive",
        headline="nothing was compared",
        policy=config.failure_policy.value,
        documents=0,
        attempts=0,
        counts=dict.fromkeys(RISKS, 0),
        samples={},
        by_document={},
        stages={name: Stage(0, 0) for name in KEYS},
        rules=rules,
        expired=tuple(f"{rule.frame}.{rule.column}" for rule in rules.expired(now.date())),
        versions=versions(),
        ontology_hash=legacy.ontologies_hash(batch_id),
        policy_hash=content_hash(config.model_dump_json())[:16],
        created_at=now,
        generation=legacy.batch(batch_id).generation,
        content_hash=documents_hash(legacy, batch_id),
    )


def _verdict(found: Findings, channel: Channel, baseline: Baseline | None, gaps: int) -> tuple[Verdict, str]:
    documents, attempts = found.documents, found.attempts["legacy"]
    if gaps:
        return "inconclusive", f"the tape lacks {gaps} of legacy's attempts, so the engine could not do the same"
    if found.total and channel == "live" and baseline is None:
        measure = "measure one: knowledge-batch parity baseline SOURCE"
        return "inconclusive", f"{found.total} differences and no baseline of today's code to judge them by; {measure}"
    if found.total:
        parts = ", ".join(f"{risk} {count}" for risk, count in found.by_risk().items() if count)
        first = min((each for risk in RISKS for each in found.first(risk)), key=lambda each: list(KEYS).index(each.frame))
        return "diverged", f"{found.total} differences ({parts}); first: {summary(first)}"
    if not documents:
        # Two empty sides are equal, and say nothing.
        return "inconclusive", "nothing differs, and no document was compared"
    return "parity", f"{documents} documents, {attempts} attempts, no difference"
