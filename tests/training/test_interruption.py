import signal
import subprocess
import sys
import threading

import pytest

from facedis_jax.training.interruption import Interruption, exit_code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_first_signal_is_noted_and_handlers_come_back(number, code, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert interruption.agreed_signal(1, every=1) is None
        signal.raise_signal(number)
        assert interruption.agreed_signal(1, every=1) == number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert exit_code(interruption.signal) == code
    assert signal.Signals(number).name in capfd.readouterr().err


def test_no_signal_is_success():
    assert exit_code(None) == 0


def test_second_signal_kills_at_once():
    program = """
import signal
from facedis_jax.training.interruption import Interruption
with Interruption():
    signal.raise_signal(signal.SIGINT)
    print("still here", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("not here", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "still here\n"
    assert done.returncode == -signal.SIGINT


def test_outside_the_main_thread_it_does_nothing():
    noted = []

    def work():
        with Interruption() as interruption:
            noted.append(interruption.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]
