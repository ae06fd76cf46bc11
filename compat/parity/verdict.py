"""The result of one comparison: the verdict, how much was compared, and where the two sides differ. Frozen data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, Self

from compat.contracts import utc_now
from compat.ids import new_id
from compat.parity.diff import Difference, Ignore, Rules, Tolerance
from compat.parity.risks import Risk
from compat.parity.versions import Versions

Channel = Literal["tape", "live"]
Verdict = Literal["parity", "diverged", "inconclusive"]


@dataclass(frozen=True)
class Stage:
    """How much of one frame was compared, and how many differences it has.

    Attributes:
        rows: Rows of the side that has more.
        differences: Differences in them.
    """

    rows: int
    differences: int


@dataclass(frozen=True)
class ParityReport:
    """One comparison of a batch that legacy served with its shadow.

    Attributes:
        batch_id: The batch.
        channel: ``tape``: the engine replayed legacy's extractor. ``live``: the extractor ran again.
        verdict: ``parity``, ``diverged``, or ``inconclusive`` where nothing could be concluded.
        headline: The verdict's reason in one line.
        policy: The batch's failure policy.
        documents: Documents compared.
        attempts: Attempts that legacy made at them.
        counts: Differences by risk; 0 for a risk without any.
        samples: Up to 20 differences a risk.
        by_document: Differences by document, for each document that has any.
        stages: How much was compared, frame by frame.
        rules: The tolerances and the columns left out.
        expired: Rules that no longer count, as ``frame.column``.
        versions: What the comparison was made with.
        ontology_hash: Tells the batch's ontologies from others.
        policy_hash: Tells the batch's configuration from others.
        created_at: When the comparison was made.
        duration_seconds: How long it took.
        noise: Differences that the baseline's noise explains; they are not counted.
        generation: How often the batch had been resumed.
        retries: Those of legacy's attempts that were not a document's first.
        content_hash: Tells the batch's documents, by their content alone, from others; empty in reports of older versions.
        report_id: The report's own id.
    """

    batch_id: str
    channel: str
    verdict: Verdict
    headline: str
    policy: str
    documents: int
    attempts: int
    counts: Mapping[Risk, int]
    samples: Mapping[Risk, Sequence[Difference]]
    by_document: Mapping[str, int]
    stages: Mapping[str, Stage]
    rules: Rules
    expired: Sequence[str]
    versions: Versions
    ontology_hash: str
    policy_hash: str
    created_at: datetime = field(default_factory=utc_now)
    duration_seconds: float = 0.0
    noise: int = 0
    generation: int = 0
    retries: int = 0
    content_hash: str = ""
    report_id: str = field(default_factory=lambda: new_id("knowledge_parity_report"))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``from_dict`` takes them back."""
        values = asdict(self)
        values["created_at"] = self.created_at.isoformat()
        for rule in values["rules"]["ignores"]:
            rule["expires"] = rule["expires"].isoformat()
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the report that was stored. A field that this version doesn't know is left out."""
        rules = values["rules"]
        ignores = [Ignore(**{**rule, "expires": datetime.fromisoformat(rule["expires"]).date()}) for rule in rules["ignores"]]
        known = {each.name for each in fields(cls)}
        return cls(
            **{
                **{name: value for name, value in values.items() if name in known},
                "samples": {
                    risk: tuple(Difference(**{**each, "key": tuple(each["key"])}) for each in found)
                    for risk, found in values["samples"].items()
                },
                "stages": {name: Stage(**stage) for name, stage in values["stages"].items()},
                "rules": Rules(tuple(Tolerance(**rule) for rule in rules["tolerances"]), tuple(ignores)),
                "versions": Versions(**values["versions"]),
                "expired": tuple(values["expired"]),
                "created_at": datetime.fromisoformat(values["created_at"]),
            }
        )
