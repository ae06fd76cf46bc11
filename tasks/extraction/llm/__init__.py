"""A language model as the extractor. Pure but for its calls; knows no runtime and no Prefect."""

from tasks.extraction.llm.extractor import LlmExtractor

__all__ = ["LlmExtractor"]
