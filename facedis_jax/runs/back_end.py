"""Whether JAX can start here, and with settings that the commands run under."""

import os

import jax

from facedis_jax.errors import InputError

_TRANSFERS = (None, "allow", "log", "log_explicit")
# JAX's settings under which the commands do not run, with the values that they do; each is also an environment variable
# in capitals. Broadcasting, mixed types and transfers where a program is set up are meant, and the settings are for
# finding those that are not.
_SUPPORTED = {
    "jax_numpy_rank_promotion": ("allow", "warn"),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_transfer_guard": _TRANSFERS,
    "jax_transfer_guard_host_to_device": _TRANSFERS,
    "jax_transfer_guard_device_to_host": _TRANSFERS,
    "jax_transfer_guard_device_to_device": _TRANSFERS,
    "jax_disable_jit": (False,),
    "jax_no_tracing": (False,),
    "jax_no_execution": (False,),
}
_PLATFORM_SETTINGS = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


def check_back_end() -> None:
    """Checks JAX's settings, and starts its back end; must come after all that configures it.

    Raises:
      InputError: a setting is not supported, or the back end that is asked for is not installed or does not start.
    """
    for name, supported in _SUPPORTED.items():
        found = getattr(jax.config, name, supported[0])
        if found not in supported:
            values = " or ".join("unset" if value is None else str(value).lower() for value in supported)
            raise InputError(name.upper(), values, str(found).lower())
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        where = next((name for name in _PLATFORM_SETTINGS if os.environ.get(name)), "JAX's back end")
        found = os.environ.get(where, "none")
        reason = f"{found} ({error})" if str(error) else found
        raise InputError(where, "a back end that is installed here, such as cpu", reason) from error
