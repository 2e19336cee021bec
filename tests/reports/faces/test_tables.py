import pytest

from facedis_jax.evaluation.faces import evaluate, predict
from facedis_jax.reports.faces import published as paper
from facedis_jax.reports.faces import tables as result_tables


@pytest.fixture(scope="module")
def predictions(codec, face_set):
    return predict(codec, face_set.test, face_set.neutrals)


@pytest.fixture(scope="module")
def results(codec, face_set, predictions):
    return evaluate(codec, face_set, predictions, intersection_faces=1)


def test_every_error_stands_beside_its_floors_and_the_papers_figure(results):
    rows = {row["measure"]: row for row in result_tables.result_rows(results, "coma")}
    first = rows["reconstruction (mm)"]
    ours, pca = results["reconstruction_mm"], results["baselines"]["pca"]["reconstruction_mm"]
    assert first["ours"] == f"{ours['mean']:.3f} ± {ours['std']:.3f}"
    assert first["PCA"] == f"{pca['mean']:.3f} ± {pca['std']:.3f}"
    assert (first["paper"], first["where"]) == ("0.663 ± 0.215", "Table 2")
    assert rows["disentanglement (mm)"]["paper"] == 0.006
    assert rows["disentanglement (mm)"]["PCA"] is None
    assert rows["noise of the input (mm)"]["ours"] == results["truth"]["input_noise_mm"]


@pytest.mark.parametrize(("reconstruction", "neutral"), [(0.9, 0.2), (1.1, 0.3), (0.9, 0.3)])
def test_requirements_are_met_or_missed(results, reconstruction: float, neutral: float):
    scale = results["baselines"]["pca"]["reconstruction_mm"]["mean"]
    results = results | {
        "reconstruction_mm": {"mean": reconstruction * scale, "std": 0.0, "median": 0.0},
        "neutral_mm": {"mean": neutral * scale, "std": 0.0, "median": 0.0},
    }
    rows = {row["measure"]: row["required below"] for row in result_tables.result_rows(results, "coma")}
    assert rows["reconstruction (mm)"] == f"PCA: {'met' if reconstruction < 1 else 'missed'}"
    met = neutral < reconstruction / 4
    assert rows["neutral (mm)"] == f"¼ reconstruction: {'met' if met else 'missed'}"
    unseen = {row["measure"]: row["required below"] for row in result_tables.result_rows(results, "bu3dfe")}
    assert unseen["neutral (mm)"] is None


def test_the_paper_has_other_figures_for_the_conditional_model_and_for_scans(results):
    def figures(*args, **options):
        return {row["measure"]: row["paper"] for row in result_tables.result_rows(results, *args, **options)}

    assert figures("coma", conditional=True)["reconstruction (mm)"] == 0.740
    assert set(figures("bu3dfe", conditional=True).values()) == {None}
    scans = figures("bu3dfe")
    assert scans["reconstruction (mm)"] == "1.628 ± 0.333"
    assert scans["neutral (mm)"] == 2.264
    assert scans["self-intersections, input"] == "0.012"


@pytest.mark.parametrize("name", ["coma", "bu3dfe"])
def test_the_papers_own_row_is_its_last(name: str):
    ours = paper.methods(name)[-1]
    assert ours.name == "IB-VAE"
    assert paper.published(name)["disentanglement_mm.mean"].value == ours.disentanglement
    best = min(m.disentanglement for m in paper.methods(name) if m.disentanglement is not None)
    assert ours.disentanglement == best


def test_leaks_are_told_with_their_chance(results):
    rows = {row["measure"]: row for row in result_tables.code_rows(results)}
    probes = results["probes"]
    row = rows["expression, accuracy of a linear classifier"]
    assert row["identity code"] == f"{100 * probes['expression_from_identity']['accuracy']:.1f}%"
    assert row["meaning"] == f"chance {100 * probes['expression_from_identity']['chance']:.1f}%"
    assert rows["active latents"]["identity code"] == "2 of 2"
    subject = rows["subject, accuracy of a linear classifier"]["meaning"]
    offsets = probes["subject_from_true_offsets"]["accuracy"]
    assert subject == f"chance 33.3%; from true offsets {100 * offsets:.1f}%"
    linear = rows["expression, from the linear model's codes"]["identity code"]
    assert linear == f"{100 * results['baselines']['linear']['probes']['expression_from_identity']['accuracy']:.1f}%"
    people = rows["test people, by the nearest face"]
    assert people["identity code"] == f"{100 * results['rank_1']['identity_codes']:.1f}%"
    assert len(result_tables.score_rows(results)) == 5
    assert result_tables.score_rows(results | {"latent_scores": None}) == []


def test_expressions_add_up_to_the_whole(results, predictions, face_set):
    rows = result_tables.expression_rows(results, predictions, face_set)
    count = sum(row["test faces"] for row in rows)
    assert count == len(predictions)
    mean = sum(row["test faces"] * row["reconstruction (mm)"] for row in rows) / count
    assert mean == pytest.approx(results["reconstruction_mm"]["mean"], rel=1e-4)


def test_the_data_are_named(face_set):
    facts = {row["data"]: row["value"] for row in result_tables.data_rows(face_set)}
    assert facts["content (sha256)"] == face_set.content_hash
    assert facts["vertices of a face"] == "42"


def test_chance_among_ninety_is_not_none(results):
    ninety = {name: probe and {**probe, "chance": 1 / 90} for name, probe in results["probes"].items()}
    rows = {row["measure"]: row for row in result_tables.code_rows(results | {"probes": ninety})}
    assert rows["subject, accuracy of a linear classifier"]["meaning"].startswith("chance 1.1%")
