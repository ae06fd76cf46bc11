"""The proof of parity: legacy's batch and the engine's shadow of it as frames, their differences, the report, and the gate."""
