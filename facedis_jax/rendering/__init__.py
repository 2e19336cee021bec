"""Shaded pictures of meshes, without a display."""
