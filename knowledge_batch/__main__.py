"""``python -m knowledge_batch`` is the command ``knowledge-batch``."""

from knowledge_batch import main

main()
