"""What both runtimes promise: the contract, the store and the rules. Imports nothing else of ours and never Prefect."""

import logging

from compat.keepable import one_line


def _neutral(record: logging.LogRecord) -> bool:
    """Make a record's message one line that steers no terminal: it may quote documents and foreign errors."""
    record.msg, record.args = one_line(record.getMessage()), None
    return True


# A library logs nothing unless its user asks for it.
logging.getLogger("knowledge_batch").addHandler(logging.NullHandler())
logging.getLogger("knowledge_batch").addFilter(_neutral)
