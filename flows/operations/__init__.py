"""Keeping it running: reconciliation, the local stack, automations, the retry audit."""
