import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "named"), [(["nothing"], "coma_ib"), (["--processes", "0", "coma_ib"], "--processes")]
)
def test_bad_requests_are_one_line_and_code_2(arguments, named):
    command = [sys.executable, "-m", "experiments.launch", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert ended.stderr.count("\n") == 1
