"""The systems that are measured, each a program of its own: one run, one line of JSON.

They share the documents and the work of ``tests.benchmarks.unit``. Those of others need nothing of ours, so they may run in an
environment of their own.
"""
