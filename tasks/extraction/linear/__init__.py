"""An extractor that is trained on an ontology's own rows: logistic regressions, which numpy alone runs."""

from tasks.extraction.linear.extractor import LinearExtractor

__all__ = ["LinearExtractor"]
