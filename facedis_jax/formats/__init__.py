"""Files and nothing else: meshes, images, videos, arrays and JSON are read within bounds and written whole."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "PIL", "av", "trimesh", "cattrs", "safetensors")
