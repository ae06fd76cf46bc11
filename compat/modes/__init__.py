"""Which runtime serves a batch, and why: `decision` by precedence, `ramp` by a share of batch ids. Pure."""

from compat.modes.decision import Decision, Mode, decide, parse_mode

__all__ = ["Decision", "Mode", "decide", "parse_mode"]
