"""Disentangled faces in JAX.

Two published methods: an information-bottleneck VAE that separates identity from expression on 3D faces, and a
deformable generator that separates appearance from geometry in images and videos. Each subpackage states its own
contract; nothing is imported here, so that `import facedis_jax.losses` costs only jax and numpy.
"""

__version__ = "0.1.0"
