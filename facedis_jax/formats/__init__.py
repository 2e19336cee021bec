"""Files and nothing else: meshes, images, videos, npz and JSON are read within bounds and written whole."""
