"""The drill of a cutover: its ground, its callers, and the way there and back."""
