"""The graph for people and programs: exports."""
