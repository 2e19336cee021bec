import subprocess
import sys
import time

import pytest

BEGIN = "import signal, sys, time; from facedis_jax.stopping import *; stop_on_signals('the end');"


def run(program, *, code):
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_command_with_one_line_and_what_was_printed(name, code):
    program = f"print('before'); signal.raise_signal(signal.{name}); time.sleep(50); print('after')"
    assert run(program, code=code) == ("before\n", f"{name}: the end\n")


@pytest.mark.parametrize(
    "busy",
    [
        # Where KeyboardInterrupt is swallowed: a destructor, an importing thread, an except clause.
        "class A:\n def __del__(self): signal.raise_signal(2); time.sleep(50)\nA()",
        "try: signal.raise_signal(2); time.sleep(50)\nexcept BaseException: pass",
        # And where the main thread runs no Python.
        "import threading; threading.Timer(0.2, signal.raise_signal, [2]).start()\nimport hashlib; "
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    ],
)
def test_no_code_swallows_it(busy):
    began = time.monotonic()
    assert run(f"\n{busy}\nprint('after')", code=130) == ("", "SIGINT: the end\n")
    assert time.monotonic() - began < 30


def test_what_is_held_ends_first_and_a_second_signal_ends_all():
    program = """
with hold("saving") as held:
    signal.raise_signal(2)
    while held.signal is None: time.sleep(0.01)
    signal.raise_signal(2)  # The same request, from another sender.
    time.sleep(0.3)
    print("saved", held.signal)
    {then}
leave(130, "stopped at step 7")
"""
    said = "SIGINT: saving (once more stops at once) ... "
    assert run(program.format(then=""), code=130) == ("saved 2\n", f"{said}stopped at step 7\n")
    again = "signal.raise_signal(2); time.sleep(50)"
    assert run(program.format(then=again), code=130) == ("saved 2\n", f"{said}the end\n")


def test_unfinished_files_and_processes_end_with_it(tmp_path):
    program = f"""
import multiprocessing, os
from facedis_jax.formats.whole import open_whole
def work():
    os.kill(os.getpid(), 2)
    time.sleep(500)  # It holds this test's pipes open as long as it lives.
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
os.makedirs(r"{tmp_path}/part/deep")
with open_whole(r"{tmp_path}/numbers") as file, removed_when_stopped(r"{tmp_path}/part"):
    file.write(b"1 2")
    time.sleep(0.5)  # The child's own signal is not the parent's.
    print("going on", flush=True)
    signal.raise_signal(2)
    time.sleep(50)
"""
    printed, said = run(program, code=130)
    assert printed == "going on\n"
    assert said == "SIGINT: the end\n"
    assert list(tmp_path.iterdir()) == []


def test_helpers_that_write_what_is_removed_end_before_it(tmp_path):
    helper = f"while not time.sleep(1e-3): open(r'{tmp_path}/part/' + str(time.monotonic_ns()), 'w')"
    program = f"""
import os, subprocess
os.makedirs(r"{tmp_path}/part")
helper = subprocess.Popen([sys.executable, "-c", "import time\\n{helper}"], start_new_session=True)
with removed_when_stopped(r"{tmp_path}/part"), killed_when_stopped(helper):
    while not os.listdir(r"{tmp_path}/part"): time.sleep(0.01)
    signal.raise_signal(2)
    time.sleep(50)
"""
    assert run(program, code=130) == ("", "SIGINT: the end\n")
    assert list(tmp_path.iterdir()) == []


def test_whoever_sets_a_handler_of_their_own_takes_the_signal_over():
    program = "signal.signal(2, lambda *_: print('mine')); signal.raise_signal(2); time.sleep(0.3); print('after')"
    assert run(program, code=0) == ("mine\nafter\n", "")


def test_signals_after_the_end_change_nothing():
    assert run("ignore_signals(); signal.raise_signal(2); time.sleep(0.3); sys.exit(5)", code=5) == ("", "")


@pytest.mark.parametrize("module", ["experiments.coma_ib", "benchmarks.geometry", "facedis_jax"])
def test_commands_ask_for_it_before_their_imports(module):
    hook = f"""
import runpy, signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name in ("jax", "numpy", "facedis_jax.cli"):
            signal.raise_signal(2)
            import time; time.sleep(50)
sys.meta_path.insert(0, Stop())
sys.argv = ["-m", "--help"]
runpy._run_module_as_main("{module}")
"""
    done = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("SIGINT: stopped")


def test_two_threads_that_end_the_process_say_one_line():
    program = "import threading; [threading.Thread(target=leave, args=(130, 'the end')).start() for _ in range(5)]"
    assert run(f"{program}; leave(130, 'the end')", code=130) == ("", "the end\n")
