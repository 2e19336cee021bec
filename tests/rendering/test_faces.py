import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.rendering.faces import Camera, render_face, render_faces

SIZE = (48, 60)


def dome(num: int = 17, *, hole: tuple[float, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A shallow dome, 100 mm by 120 mm, that bulges along +z, with a hole around `hole` (x, y) if asked."""
    x, y = np.meshgrid(np.linspace(-50, 50, num), np.linspace(-60, 60, num))
    vertices = np.stack([x, y, 30 - (x**2 + y**2) / 200], -1).reshape(-1, 3)
    i = (np.arange(num - 1)[:, None] * num + np.arange(num - 1)).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + num + 1], -1), np.stack([i, i + num + 1, i + num], -1)])
    if hole is not None:
        centres = (vertices[i] + vertices[i + num + 1])[:, :2] / 2
        triangles = triangles[np.tile(np.abs(centres - hole).max(-1) > 10, 2)]
    return vertices, triangles


def covered(picture: np.ndarray) -> np.ndarray:
    return picture[..., 3] > 127


def test_a_face_is_drawn_in_the_middle_of_a_white_picture():
    picture = render_face(*dome(), size=SIZE)
    assert picture.shape == (60, 48, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[[0, 0, -1, -1], [0, -1, 0, -1]], 255)
    middle = picture[20:40, 16:32].astype(int)
    assert (middle.max(-1) < 255).all()
    assert middle.std() > 2  # shaded, not flat


def test_without_a_background_only_the_face_is_opaque():
    picture = render_face(*dome(), size=SIZE, background=None)
    assert picture.shape == (60, 48, 4)
    assert picture[0, 0, 3] == 0
    assert picture[30, 24, 3] == 255
    on_white = render_face(*dome(), size=SIZE)
    np.testing.assert_array_equal(picture[30, 24, :3], on_white[30, 24])


def test_rendering_repeats_itself():
    np.testing.assert_array_equal(render_face(*dome(), size=SIZE), render_face(*dome(), size=SIZE))


@settings(deadline=None, max_examples=10)
@given(yaw=st.floats(-60, 60), pitch=st.floats(-40, 40))
def test_the_default_camera_sees_the_whole_face_from_everywhere(yaw: float, pitch: float):
    picture = covered(render_face(*dome(9), size=SIZE, view=(yaw, pitch), background=None))
    assert not picture[[0, -1]].any()
    assert not picture[:, [0, -1]].any()
    rows, columns = np.nonzero(picture)
    assert np.ptp(rows) > 0.7 * SIZE[1] or np.ptp(columns) > 0.7 * SIZE[0]


def test_one_camera_shows_sizes_and_places_as_they_are():
    vertices, triangles = dome()
    camera = Camera.framing(vertices, size=SIZE)
    same = render_faces(np.stack([vertices, vertices]), triangles, size=SIZE, camera=camera, background=None)
    np.testing.assert_array_equal(same[0], same[1])
    half = render_face(0.5 * vertices, triangles, size=SIZE, camera=camera, background=None)
    assert covered(half).sum() == pytest.approx(covered(same[0]).sum() / 4, rel=0.1)
    moved = render_face(vertices + np.array([20.0, 0, 0]), triangles, size=SIZE, camera=camera, background=None)
    shift = np.nonzero(covered(moved))[1].mean() - np.nonzero(covered(same[0]))[1].mean()
    assert 0 < shift <= 20 * SIZE[1] / camera.height * 1.1


def test_positive_yaw_and_pitch_show_more_of_the_left_cheek_and_the_crown():
    """The camera goes towards +x and +y, so a mark there moves to the middle of the picture."""
    vertices, triangles = dome()
    marked = np.argmin(np.linalg.norm(vertices[:, :2] - [25.0, 30.0], axis=-1))
    scalars = np.where(np.arange(len(vertices)) == marked, 1.0, 0.0)
    camera = Camera.framing(vertices, size=SIZE)

    def mark(view: tuple[float, float]) -> np.ndarray:
        options = {"size": SIZE, "background": None}
        picture = render_face(vertices, triangles, scalars=scalars, cmap="gray", view=view, camera=camera, **options)
        rows, columns = np.nonzero(covered(picture) & (picture[..., 0] > 60))
        return np.array([columns.mean() - SIZE[0] / 2, SIZE[1] / 2 - rows.mean()])

    front, turned, raised = mark((0, 0)), mark((30, 0)), mark((0, 30))
    assert (front > 3).all()
    assert turned[0] < front[0] - 2
    assert raised[1] < front[1] - 2


def test_moving_a_vertex_changes_pixels_only_around_it():
    vertices, triangles = dome()
    camera = Camera.framing(vertices, size=SIZE)
    moved = vertices.copy()
    moved[8 * 17 + 8, 2] += 6.0
    before, after = (render_face(v, triangles, size=SIZE, camera=camera) for v in (vertices, moved))
    rows, columns = np.nonzero((before != after).any(-1))
    # Two rings of triangles around the vertex, whose normals change with it: 4 cells of 6.25 by 7.5 mm.
    pixels_per_mm = SIZE[1] / camera.height
    assert 0 < np.ptp(columns) <= 4 * 6.25 * pixels_per_mm + 3
    assert 0 < np.ptp(rows) <= 4 * 7.5 * pixels_per_mm + 3


@pytest.mark.parametrize("value", [0.0, 0.7, 1.4, 2.0])
def test_a_heat_map_shows_the_colour_of_the_scale_where_the_face_looks_at_the_camera(value: float):
    vertices, triangles = dome()
    vertices[:, 2] = 0
    picture = render_face(vertices, triangles, scalars=np.full(len(vertices), value), clim=(0.0, 2.0), size=SIZE)
    expected = 255 * np.array(matplotlib.colormaps["viridis"](value / 2)[:3])
    np.testing.assert_allclose(picture[20:40, 16:32] - expected, 0, atol=1.5)


def test_heat_maps_of_one_call_share_their_scale():
    vertices, triangles = dome()
    vertices[:, 2] = 0
    scalars = np.stack([np.full(len(vertices), 1.0), np.full(len(vertices), 4.0)])
    pictures = render_faces(np.stack([vertices, vertices]), triangles, scalars=scalars, size=SIZE)
    for picture, share in zip(pictures, (0.25, 1.0), strict=True):
        expected = 255 * np.array(matplotlib.colormaps["viridis"](share)[:3])
        np.testing.assert_allclose(picture[30, 24] - expected, 0, atol=1.5)


def test_nearer_triangles_hide_those_behind_in_any_order():
    vertices, triangles = dome()
    vertices[:, 2] = 0
    both = np.concatenate([vertices, vertices - [0, 0, 20.0]])
    scalars = np.repeat([1.0, 0.0], len(vertices))
    front_first = np.concatenate([triangles, triangles + len(vertices)])
    expected = 255 * np.array(matplotlib.colormaps["viridis"](1.0)[:3])
    for order in (front_first, front_first[::-1]):
        picture = render_face(both, order, scalars=scalars, size=SIZE)
        np.testing.assert_allclose(picture[30, 24] - expected, 0, atol=1.5)


def test_holes_become_a_dark_mouth_and_pale_eyes():
    vertices, triangles = dome(hole=(0.0, -30.0))
    mouth = render_face(vertices, triangles, size=SIZE, background=None)
    vertices, triangles = dome(hole=(25.0, 30.0))
    eye = render_face(vertices, triangles, size=SIZE, background=None)
    camera = Camera.framing(vertices, size=SIZE)
    scale = SIZE[1] / camera.height
    mouth_pixel = mouth[round(30 + 30 * scale), 24]
    eye_pixel = eye[round(30 - 30 * scale), round(24 + 25 * scale)]
    assert mouth_pixel[3] == eye_pixel[3] == 255
    assert mouth_pixel[:3].max() < 90
    assert eye_pixel[:3].min() > 120


def test_a_ragged_hole_is_closed_as_well():
    vertices, triangles = dome()
    ragged = triangles[np.abs(vertices[triangles].mean(1)[:, :2] - [0.0, -30.0]).max(-1) > 10]
    camera = Camera.framing(vertices, size=SIZE)
    whole, closed = (
        covered(render_face(vertices, t, size=SIZE, camera=camera, background=None)) for t in (triangles, ragged)
    )
    np.testing.assert_array_equal(whole, closed)


def test_the_back_of_a_face_is_dark():
    front = render_face(*dome(), size=SIZE)[30, 24].astype(int)
    back = render_face(*dome(), size=SIZE, view=(180, 0))[30, 24].astype(int)
    assert back.sum() < front.sum() / 2


@pytest.mark.parametrize(
    ("faces", "scalars"),
    [
        (np.zeros((4, 3)), None),
        (np.full((1, 4, 3), np.nan), None),
        (np.zeros((1, 4, 3)), np.zeros((1, 5))),
        (np.zeros((1, 4, 3)), np.full((1, 4), np.inf)),
    ],
)
def test_what_cannot_be_rendered_is_refused(faces: np.ndarray, scalars: np.ndarray | None):
    with pytest.raises(ValueError, match="must be finite and"):
        render_faces(faces, np.array([[0, 1, 2]]), scalars=scalars, size=SIZE)
