"""One document's work: pure functions in `extraction/`; the Prefect tasks around them in `extract.py` and `resolve.py`."""
