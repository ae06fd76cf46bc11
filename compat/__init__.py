"""What both runtimes promise: the contract, the store and the rules. Imports nothing else of ours and never Prefect."""

import logging

# A library is silent unless its user wants to hear it.
logging.getLogger("knowledge_batch").addHandler(logging.NullHandler())
