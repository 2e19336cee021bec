import os
import subprocess
import sys

import jax
import pytest

from facedis_jax.errors import InputError
from facedis_jax.runs.back_end import check_back_end


def test_the_settings_of_these_tests_are_supported():
    check_back_end()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("jax_numpy_rank_promotion", "raise", "JAX_NUMPY_RANK_PROMOTION: expected allow or warn, found raise"),
        ("jax_numpy_dtype_promotion", "strict", "JAX_NUMPY_DTYPE_PROMOTION: expected standard, found strict"),
        ("jax_transfer_guard", "disallow", "JAX_TRANSFER_GUARD: expected unset or allow or log or log_explicit"),
        (
            "jax_transfer_guard_host_to_device",
            "disallow_explicit",
            "JAX_TRANSFER_GUARD_HOST_TO_DEVICE: expected unset or",
        ),
        ("jax_disable_jit", True, "JAX_DISABLE_JIT: expected false, found true"),
    ],
)
def test_a_setting_that_is_not_supported_is_named(name, value, said):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        with pytest.raises(InputError) as error:
            check_back_end()
    finally:
        jax.config.update(name, before)
    assert str(error.value).startswith(said)
    assert str(error.value).endswith(f", found {str(value).lower()}")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("JAX_PLATFORMS", "cuda", "JAX_PLATFORMS: expected a back end that is installed here, such as cpu, found cuda"),
        ("JAX_PLATFORMS", "rubbish", "JAX_PLATFORMS: expected a back end that is installed here, such as cpu, found "),
        ("JAX_ENABLE_X64", "maybe", "environment: expected settings that JAX knows, found invalid truth value 'maybe'"),
    ],
)
@pytest.mark.parametrize("command", ["experiments.coma_ib"])
def test_commands_say_in_one_line_that_jax_does_not_start(command, name, value, said):
    done = subprocess.run(
        [sys.executable, "-m", command, "--preset", "tiny"],
        env={**os.environ, "JAX_PLATFORMS": "cpu", name: value},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
