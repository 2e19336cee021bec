from pathlib import Path

import pytest

from facedis_jax.errors import InputError


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("faces.ply", "faces.ply"),
        (Path("J\u00fcrgen/\u9854.png"), "J\u00fcrgen/\u9854.png"),
        ("a\nb\tc", "a b c"),
        ("\x1b[2J\x07.ply", r"\x1b[2J\x07.ply"),
        ("\udcff.ply", r"\udcff.ply"),  # a name that is no UTF-8
    ],
)
def test_the_message_is_one_line_that_any_terminal_can_show(where, shown):
    error = InputError(where, "a mesh", "noise")
    assert str(error) == f"{shown}: expected a mesh, found noise"
    assert str(error).encode()
    assert error.where == str(where)
