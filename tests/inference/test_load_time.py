import subprocess
import sys

# Of modules, what a model that only decodes does without.
CODE = """
import sys, facedis_jax
assert not {"numpy", "jax", "flax"} & set(sys.modules)
import jax
from facedis_jax.inference.example import example_face_model
from pathlib import Path
path = Path(sys.argv[1])
example_face_model().save(path)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: compiled.append(seconds) if name.endswith("backend_compile_duration") else None
)
model = facedis_jax.load(path)
before = len(compiled)
length = model.config.model.identity_latents
code = model.trained.codes[0]
model.functions.decode(model.params, code[:length], code[length:], None).full.block_until_ready()
print(before, len(compiled) - before)
unneeded = {"sklearn", "scipy.spatial", "matplotlib", "trimesh", "tensorflow_datasets", "orbax", "grain"}
unneeded &= set(sys.modules)
assert not unneeded, unneeded
"""


def test_a_model_is_loaded_and_decodes_with_few_programs(tmp_path):
    """No encoder is compiled, and nothing is imported that decoding does without."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "model.safetensors")], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    loading, decoding = map(int, ended.stdout.split())
    assert loading <= 6
    assert decoding <= 2
