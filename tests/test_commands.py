import os
import platform
import subprocess
import sys

import pytest

BEGIN = "import os, sys; from facedis_jax.commands import *; begin_command();"


def run(program, **streams):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", BEGIN + program], env=env, text=True, timeout=60, check=False, **pipes)


def test_a_command_ends_with_its_code_and_line():
    done = run("print('output'); end_command(2, 'error: the line')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "output\n", "error: the line\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_an_encoding_lacks_are_escaped(encoding):
    program = "print('\\udcff \\u4e2d'); end_command(0, '\\udcff')"
    code = [sys.executable, "-c", BEGIN + program]
    done = subprocess.run(code, env={"PYTHONIOENCODING": encoding}, capture_output=True, check=False)
    shown = "中".encode() if encoding == "utf-8" else b"\\u4e2d"
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\udcff " + shown + b"\n", b"\\udcff\n")


def test_closed_streams_are_not_what_the_next_file_is_written_to(tmp_path):
    program = f"file = open(r'{tmp_path}/numbers', 'w'); print('output'); os.write(1, b'more'); os.write(2, b'error');"
    program += "print(sys.stderr.isatty()); file.write('1 2 3'); end_command(3, 'error: the line')"
    shell = 'exec "$0" -c "$1" >&- 2>&- <&-'
    done = subprocess.run(["bash", "-c", shell, sys.executable, BEGIN + program], timeout=60, check=False)
    assert done.returncode == 3
    assert (tmp_path / "numbers").read_text() == "1 2 3"


def test_a_full_stream_changes_no_exit_code():
    with open("/dev/full", "w") as full:
        assert run("print('output'); end_command(0)", stdout=full).returncode == 0
        done = run("print('output'); end_command(2, 'error: the line')", stdout=full, stderr=full)
        assert done.returncode == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators decide for themselves")
@pytest.mark.parametrize(("told", "kept"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)])
def test_memory_that_a_thread_frees_is_there_for_its_next_array(told, kept):
    program = """
import resource, threading
def take():
    for _ in range(10):
        # A byte of each page is written, or the system would not give it.
        array = bytearray(40 << 20)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        del array
faults = []
thread = threading.Thread(target=take); thread.start(); thread.join()
print((faults[-1] - faults[0]) / 9)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))} | told
    done = subprocess.run([sys.executable, "-c", BEGIN + program], env=env, text=True, capture_output=True, check=True)
    # 40 MiB are 10,240 pages of 4 KiB.
    assert (float(done.stdout) < 1000) == kept


def test_exit_functions_run_and_what_they_print_is_seen():
    program = "import atexit; atexit.register(print, 'at exit'); print('output');"
    done = run(program + "end_command(3, 'error: the line', at_once=True)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "output\nat exit\n", "error: the line\n")


def test_the_interpreter_is_not_taken_apart_where_there_is_no_need():
    program = (
        "import sys; sys.kept = type('Kept', (), {'__del__': lambda self, write=os.write: write(1, b'taken apart')})();"
    )
    assert run(program + "end_command(0, at_once=True)").stdout == ""
    assert run(program + "end_command(0)").stdout == "taken apart"
    # Where it ends otherwise, all is as ever.
    assert run(program + "sys.exit(4)").stdout == "taken apart"
    done = run("raise ValueError('told')")
    assert done.returncode == 1
    assert "ValueError: told" in done.stderr
