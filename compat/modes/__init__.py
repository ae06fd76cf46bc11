"""Which runtime serves a batch, and why: `decision` by precedence, `ramp` by a share of batch ids. Pure."""

from compat.modes.decision import Asker, Decision, Mode, decide, parse_mode

__all__ = ["Asker", "Decision", "Mode", "decide", "parse_mode"]
