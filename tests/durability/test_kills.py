"""The short form of `python -m tests.durability.kills`."""

import pytest

from tests.durability.kills import kill_training

# `test_abp_parallel` kills a run too, and goes on in the same process.
pytestmark = pytest.mark.thorough


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    outcome = kill_training("abp", 2, tmp_path, steps=30)
    assert outcome.kills >= 2
    assert outcome.runs == outcome.equal > 0
