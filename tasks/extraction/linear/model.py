"""A trained model as a file: arrays and JSON, nothing in it that could be run, the same bytes for the same training."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat.errors import InvalidInputError, Problem
from tasks.extraction.linear.features import BITS
from tasks.extraction.linear.spans import Names

VERSION = 1
Floats = NDArray[np.float32]
Counts = dict[str, dict[int, int]]


@dataclass(frozen=True)
class LinearModel:
    """What training came to.

    Attributes:
        ontology: The hash of the ontology's text, for which alone it is right.
        relations: The properties' IRIs; column 1 + n of the weights is relation n's, column 0 is the subject's.
        weights: Of each feature (row) for each column.
        bias: The intercept of each column.
        labelled: The share of true facts that the rows label, as estimated: a probability divided by it is a confidence.
        threshold: The least probability of a fact that is kept.
        subjects, objects: How often a name is an end of each relation in the rows.
        classes: The class of a relation's subjects where the ontology gives no domain.
        together: Pairs of classes that one name bears in the rows.
        coreference: Whether pronouns count as names.
    """

    ontology: str
    relations: tuple[str, ...]
    weights: Floats
    bias: Floats
    labelled: float
    threshold: float
    subjects: Counts
    objects: Counts
    classes: dict[str, str]
    together: frozenset[tuple[str, str]]
    coreference: bool = False
    trained_on: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> Names:
        """The names of the rows, to be found in sentences."""
        return Names({*self.subjects, *self.objects})

    def write(self, file: Path) -> int:
        """Write the model; returns the file's size. Rows of nothing but zeros are left out."""
        rows = np.flatnonzero(np.abs(self.weights).max(axis=1) > 0)
        meta = {
            "version": VERSION, "bits": BITS, "ontology": self.ontology, "relations": self.relations,
            "labelled": self.labelled, "threshold": self.threshold, "subjects": self.subjects, "objects": self.objects,
            "classes": self.classes, "together": sorted(self.together), "coreference": self.coreference,
            "trainedOn": self.trained_on,
        }  # fmt: skip
        text = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode("utf-8")
        kept = self.weights[rows].astype(np.float16)
        arrays: dict[str, NDArray[Any]] = {"rows": rows.astype(np.uint32), "weights": kept, "bias": self.bias}
        arrays["meta"] = np.frombuffer(text, np.uint8)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, array in arrays.items():
                content = io.BytesIO()
                np.save(content, array, allow_pickle=False)
                # A date of its own, or two trainings would differ in the time of day.
                entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content.getvalue())
        return file.stat().st_size

    @classmethod
    def read(cls, file: Path) -> "LinearModel":
        """Return the model of a file. Raises InvalidInputError for what isn't one, or one of another version."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                meta = json.loads(arrays["meta"].tobytes())
                rows, values, bias = arrays["rows"], arrays["weights"], arrays["bias"]
            version, bits = meta["version"], meta["bits"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            advice = f"isn't a model ({error}); knowledge-batch train writes one"
            raise InvalidInputError([Problem("KNOWLEDGE_LINEAR_MODEL", str(file), advice)]) from None
        if (version, bits) != (VERSION, BITS):
            advice = f"is a model of version {version}, this is version {VERSION}; train it again"
            raise InvalidInputError([Problem("KNOWLEDGE_LINEAR_MODEL", str(file), advice)])
        weights = np.zeros((1 << BITS, values.shape[1]), np.float32)
        weights[rows] = values
        return cls(
            ontology=meta["ontology"],
            relations=tuple(meta["relations"]),
            weights=weights,
            bias=bias,
            labelled=meta["labelled"],
            threshold=meta["threshold"],
            subjects=_counts(meta["subjects"]),
            objects=_counts(meta["objects"]),
            classes=meta["classes"],
            together=frozenset((one, other) for one, other in meta["together"]),
            coreference=meta["coreference"],
            trained_on=meta["trainedOn"],
        )


def _counts(found: dict[str, dict[str, int]]) -> Counts:
    return {name: {int(relation): count for relation, count in counts.items()} for name, counts in found.items()}
