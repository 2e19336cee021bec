"""The CC0 face, and the command that rebuilds it from its source."""
