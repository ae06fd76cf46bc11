"""The command ``knowledge-batch``."""
