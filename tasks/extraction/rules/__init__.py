"""The extractor without a model: an ontology's labels, and the rules of English sentences."""
