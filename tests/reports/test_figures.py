import matplotlib
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from facedis_jax.reports import figures


@pytest.mark.parametrize("subjects", [3, 100])
def test_codes_are_drawn_once_and_each_subject_is_named_over_its_points(subjects: int):
    labels = np.repeat(np.arange(subjects), 4)
    points = np.random.default_rng(0).normal(size=(len(labels), 2)) + labels[:, None]
    names = [f"F{k:04d}" for k in range(subjects)]
    figure = figures.code_scatter(points, labels, names, explained=(0.5, 0.25))
    (axes,) = figure.axes
    drawn = np.concatenate([np.asarray(part.get_offsets()) for part in axes.collections])
    np.testing.assert_allclose(np.sort(drawn, 0), np.sort(points, 0))
    looks = {(tuple(part.get_facecolor()[0]), part.get_paths()[0].vertices.tobytes()) for part in axes.collections}
    assert len(looks) >= min(subjects, 49)
    assert [text.get_text() for text in axes.texts] == names
    for k, text in enumerate(axes.texts):
        assert text.xy[0] == pytest.approx(points[labels == k, 0].mean())
    assert axes.get_xlabel() == "principal component 1 (50% of the variance)"


def test_names_are_shown_as_they_are():
    odd = r"a $\nope$ b"
    assert figures.png(figures.code_scatter(np.zeros((1, 2)), np.array([0]), [odd]), dpi=40)


def test_a_subject_without_points_is_skipped():
    figure = figures.code_scatter(np.zeros((2, 2)), np.array([0, 0]), ["seen", "unseen"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["seen"]


def test_training_curves_have_a_panel_for_each_quantity_with_its_unit():
    rows = [{"step": s, "split": "train", "loss": 1000.0 / (s + 1), "kl_nats": 1.0 + s} for s in range(5)]
    rows += [{"step": 4, "split": "test", "kl_nats": 6.0}]
    figure = figures.training_curves(rows)
    loss, kl = figure.axes
    assert [loss.get_title("left"), kl.get_title("left")] == ["loss", "KL (nats)"]
    assert loss.get_yscale() == "linear"
    assert len(loss.lines) == 1
    train, test = kl.lines
    np.testing.assert_array_equal(train.get_xydata(), [[s, 1.0 + s] for s in range(5)])
    np.testing.assert_array_equal(test.get_xydata(), [[4, 6.0]])
    (chosen,) = figures.training_curves(rows, quantities=["kl_nats"]).axes
    assert chosen.get_title("left") == "KL (nats)"


def test_the_curves_legend_names_both_splits_where_the_first_quantity_is_of_one_alone():
    rows = [{"step": s, "split": "train", "kl_nats": 1.0, "loss": 2.0, "other": 1.0} for s in range(3)]
    rows += [{"step": s, "split": "test", "loss": 3.0, "other": 1.0} for s in range(3)]
    legends = [axes.get_legend() for axes in figures.training_curves(rows).axes]
    assert [legend is not None for legend in legends] == [False, True, False]
    assert [text.get_text() for text in legends[1].get_texts()] == ["train", "test"]


def test_the_curves_legend_names_both_splits_where_no_quantity_is_of_both():
    rows = [{"step": s, "split": "train", "loss": 2.0} for s in range(3)]
    rows += [{"step": s, "split": "test", "squared_error": 3.0} for s in range(3)]
    (legend,) = filter(None, (axes.get_legend() for axes in figures.training_curves(rows).axes))
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]
    train, test = (line.get_color() for line in legend.get_lines())
    assert train != test


@pytest.mark.parametrize(("last", "scale"), [(1.0, "log"), (-1.0, "linear"), (30.0, "linear")])
def test_only_positive_quantities_that_span_decades_get_a_log_axis(last: float, scale: str):
    rows = [{"step": 0, "split": "train", "loss": 100.0}, {"step": 1, "split": "train", "loss": last}]
    assert figures.training_curves(rows).axes[0].get_yscale() == scale


def test_the_trade_off_has_a_line_of_means_and_a_band_over_seeds_for_each_weight():
    rows = [
        {
            "beta_mi": mi,
            "beta_id": identity,
            "disentanglement_mm": mi + seed,
            "reconstruction_mm": 1.0 + identity,
        }
        for mi in (10.0, 0.0)
        for identity in (0.0, 10.0)
        for seed in (0, 1, 5)
    ]
    left, right = figures.tradeoff(rows).axes
    assert left.get_ylabel() == "disentanglement error (mm)"
    assert [line.get_label() for line in left.lines] == [r"$\beta_{id}$ = 0", r"$\beta_{id}$ = 10"]
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0, 2], [10, 12]])
    np.testing.assert_allclose(right.lines[1].get_xydata(), [[0, 11], [10, 11]])
    band = left.collections[0].get_paths()[0].vertices
    assert {(0.0, 0.0), (0.0, 5.0), (10.0, 10.0), (10.0, 15.0)} <= {tuple(point) for point in band.tolist()}


def test_a_histogram_counts_every_face_and_says_the_mean():
    errors = {"ours": np.array([0.1, 0.2, 0.3]), "PCA": np.array([1.0, 2.0, 2.0, 3.0])}
    (axes,) = figures.error_histogram(errors, label="error (mm)").axes
    assert sum(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)) == 7
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "ours, mean 0.200",
        "PCA, mean 2.000",
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("reconstruction_mm", "reconstruction (mm)"),
        ("identity_kl_nats", "identity KL (nats)"),
        ("landmark_percent", "landmark (%)"),
        ("loss", "loss"),
        ("mm", "mm"),
    ],
)
def test_labels_show_units(name: str, label: str):
    assert figures.quantity_label(name) == label


def test_figures_repeat_themselves_and_leave_the_style_alone():
    before = dict(matplotlib.rcParams)
    rows = [{"step": s, "split": "train", "loss": 1.0} for s in range(3)]
    first, second = (figures.png(figures.training_curves(rows)) for _ in range(2))
    assert first == second
    assert dict(matplotlib.rcParams) == before


def test_a_figure_is_written_whole(tmp_path):
    path = tmp_path / "errors.png"
    figures.save_figure(figures.error_histogram({"ours": np.ones(3)}, label="error (mm)"), path)
    with Image.open(path) as image:
        image.verify()
    assert list(tmp_path.iterdir()) == [path]


def test_bars_of_shares_have_a_group_for_each_name():
    ours, linear = {"high_smile": 0.9, "eyebrow": 0.06}, {"high_smile": 1.02, "eyebrow": 0.0}
    figure = figures.share_bars({"ours": ours, "linear": linear}, label="share (1: all)")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["high smile", "eyebrow"]
    assert sorted(bar.get_width() for bar in axes.patches) == [0.0, 0.06, 0.9, 1.02]
    assert {text.get_text() for text in axes.texts} == {"0.90", "0.06", "1.02", "0.00"}
    assert axes.get_xlabel() == "share (1: all)"
