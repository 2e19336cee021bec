"""Shaded images of meshes, without a display."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "matplotlib")

from facedis_jax.rendering.faces import Camera, render_face, render_faces

__all__ = ["Camera", "render_face", "render_faces"]
