"""A trained model on a page of this machine, by viser: sliders, named expressions, loaded scans, saved files."""
