"""The report of a run on faces."""
