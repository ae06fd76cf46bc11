"""Benchmarks, as programs: ``python -m tests.benchmarks --help``."""
