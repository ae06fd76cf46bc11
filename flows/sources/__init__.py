"""Documents and ontologies from where they are: files, URLs, databases."""

from flows.sources.readers import Columns, load

__all__ = ["Columns", "load"]
