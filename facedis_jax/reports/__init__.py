"""What a finished run looks like: measures, baselines, renders, figures and one HTML page."""
