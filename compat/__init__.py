"""What both runtimes promise: the contract, the store and the rules. Imports nothing else of ours and never Prefect."""

import logging

# A library logs nothing unless its user asks for it.
logging.getLogger("knowledge_batch").addHandler(logging.NullHandler())
