"""The reports of runs on images."""
