"""One file per experiment: its card, its settings, its presets and a short main."""
