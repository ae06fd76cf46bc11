"""What both runtimes do around a batch and an attempt: rows, events, lease, in the promised order."""
