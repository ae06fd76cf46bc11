"""A trained model as a file: arrays and JSON, nothing in it that could be run, the same bytes for the same training."""

import json
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat.errors import InvalidInputError, Problem
from tasks.extraction.linear.spans import Names
from tasks.extraction.sentences import words_of

# Of the features and the file together.
VERSION = 3
_ARRAYS = ("weights", "bias")
Floats = NDArray[np.float32]
# Of a name ("s" for subjects, "o" for objects, a space, the name), how often it is an end of each relation, by its number.
Counts = dict[str, dict[str, int]]


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
        counts: How often names are ends of relations in the rows.
        default_classes: The class of a subject whose relations have no domain: the commonest one of the rows, if there is one.
        trained_on: How many rows and triples, and the version of numpy.
    """

    ontology: str
    relations: tuple[str, ...]
    weights: Floats
    bias: Floats
    labelled: float
    threshold: float
    counts: Counts
    default_classes: tuple[str, ...]
    trained_on: dict[str, Any]

    @cached_property
    def names(self) -> Names:
        """The names of the rows, to be found in sentences."""
        found: Names = {}
        for words in sorted({words_of(key[2:]) for key in self.counts}):
            found.setdefault(words[0], []).append(words)
        return found

    def write(self, file: Path) -> None:
        """Write the model. numpy dates every part the same, so that two trainings are the same bytes."""
        meta = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _ARRAYS}
        text = json.dumps({**meta, "version": VERSION}, ensure_ascii=False, sort_keys=True).encode("utf-8")
        with file.open("wb") as out:
            small = self.weights.astype(np.float16)
            np.savez_compressed(out, weights=small, bias=self.bias, meta=np.frombuffer(text, np.uint8))

    @classmethod
    def read(cls, file: Path) -> "LinearModel":
        """Return the model of a file. Raises InvalidInputError for what isn't one, or one of another version."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                meta = json.loads(arrays["meta"].tobytes())
                meta |= {"weights": arrays["weights"].astype(np.float32), "bias": arrays["bias"]}
            version = meta.pop("version")
            advice = "" if version == VERSION else f"is a model of version {version}, this is version {VERSION}; train it again"
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            advice = f"isn't a model ({error}); knowledge-batch train writes one"
        if advice:
            raise InvalidInputError([Problem("KNOWLEDGE_LINEAR_MODEL", str(file), advice)])
        return cls(**{**meta, "relations": tuple(meta["relations"]), "default_classes": tuple(meta["default_classes"])})
