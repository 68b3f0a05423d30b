"""The relaxation of the planning problem: its compiled loops. What it means and what it is used for stands in `bounds`."""
