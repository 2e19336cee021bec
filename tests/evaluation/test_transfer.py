import numpy as np
import pytest

from facedis_jax.evaluation.transfer import errors_over_runs, margins


def test_errors_over_runs_are_sample_statistics():
    table = errors_over_runs([{"0": 1.0, "all": 5.0}, {"0": 2.0, "all": 5.0}, {"0": 6.0, "all": 5.0}])
    assert table["0"] == {"mean": 3.0, "std": pytest.approx(np.sqrt(7)), "runs": [1.0, 2.0, 6.0]}
    assert table["all"]["std"] == 0
    assert np.isnan(errors_over_runs([{"0": 1.0}])["0"]["std"])


def test_margins_are_to_the_better_of_the_others():
    table = {
        "deformable": errors_over_runs([{"30": 6.0, "0": 9.0}]),
        "abp": errors_over_runs([{"30": 10.0, "0": 6.0}]),
        "vae": errors_over_runs([{"30": 8.0, "0": 7.0}]),
    }
    assert margins(table) == {"30": pytest.approx(0.25), "0": pytest.approx(-0.5)}
