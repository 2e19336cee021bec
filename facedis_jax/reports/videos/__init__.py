"""The reports of runs on videos."""
