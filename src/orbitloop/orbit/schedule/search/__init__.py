"""Local search over plans: its compiled loops. What they are used for stands in `heuristic`."""
