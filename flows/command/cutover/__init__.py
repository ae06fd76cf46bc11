"""The commands of the move: the mode and its ramp, shadows and the gate, the evidence, the drill."""
