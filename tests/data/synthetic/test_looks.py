import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.data.synthetic.looks import STYLES, draw_background, draw_person, hsv
from facedis_jax.data.synthetic.portrait import MATERIALS

share = st.floats(0, 1)


@given(hue=st.floats(-2, 2), saturation=share, value=share)
def test_colours_of_the_wheel(hue: float, saturation: float, value: float):
    np.testing.assert_allclose(hsv(hue, saturation, value), colorsys.hsv_to_rgb(hue % 1, saturation, value), atol=1e-6)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_people_differ_within_their_style(style):
    people = [draw_person(np.random.default_rng(i), style) for i in range(60)]
    colors = {name: np.stack([person["colors"][m] for person in people]) for m, name in enumerate(MATERIALS)}
    for color in colors.values():
        assert color.shape == (60, 3)
        assert color.min() >= 0
        assert color.max() <= 1
    skin = colors["skin"]
    assert (np.diff(skin, axis=-1) < 0).all()  # redder than green, greener than blue
    assert np.ptp(skin.mean(-1)) > 0.35
    assert (colors["lips"][:, 1] < skin[:, 1]).all()
    assert (colors["brow"].mean(-1) < skin.mean(-1)).all()
    assert len(np.unique(colors["hair"], axis=0)) > 40
    assert (np.array([person["hairline"] for person in people]) < 5).all()


def test_hair_and_eyes_of_dark_skin_are_dark():
    people = [draw_person(np.random.default_rng(i), STYLES["studio"])["colors"].sum(-1) for i in range(200)]
    dark = np.stack([person for person in people if person[MATERIALS.index("skin")] < 0.9])
    assert len(dark) > 20
    for name in ("hair", "iris"):
        assert (dark[:, MATERIALS.index(name)] < 0.85 * dark[:, MATERIALS.index("skin")]).all()


def test_backgrounds_stay_near_their_person():
    rng = np.random.default_rng(0)
    person = np.array([0.6, 0.2, 0.5])
    drawn = np.stack([draw_background(rng, person) for _ in range(100)])
    assert drawn.shape == (100, 2, 3)
    np.testing.assert_allclose(drawn.mean((0, 1)), hsv(*person), atol=0.03)
    assert drawn.mean((1, 2)).std() > 0.02
    assert (drawn[:, 0] != drawn[:, 1]).all()
