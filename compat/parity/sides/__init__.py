"""Both sides of a comparison as frames, and whether each kept the contract. Public: `pairs`."""

from compat.parity.sides.side import pairs

__all__ = ["pairs"]
