import sys
import time

from facedis_jax.runs import processes


def python(program):
    return [sys.executable, "-c", program]


def test_code_is_0_where_all_end_well():
    assert processes.launch([python("pass"), python("pass")]) == 0


def test_where_one_fails_the_others_are_ended_and_its_code_is_told(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE", 0.1)
    began = time.monotonic()
    assert processes.launch([python("import time; time.sleep(60)"), python("raise SystemExit(7)")]) == 7
    assert time.monotonic() - began < 30


def test_a_process_that_a_signal_ended_is_told_of_as_a_shell_does(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE", 0.1)
    assert processes.launch([python("import os; os.kill(os.getpid(), 9)")]) == 137


def test_commands_differ_in_the_process_alone():
    first, second = processes.commands("experiments.coma_ib", ["--preset", "tiny"], 2)
    assert first[:-1] == second[:-1]
    assert (first[-1], second[-1]) == ("0", "1")
    assert first[1:5] == ["-m", "experiments.coma_ib", "--preset", "tiny"]
    assert first[first.index("--num-processes") + 1] == "2"
