"""Stopping from outside: the flag, the signal, the handler that was there before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from utils.training.engine.interrupt import StopSwitch, TrainingInterrupted


def test_sigterm_sets_the_flag_and_no_more():
    switch = StopSwitch()
    with switch.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert switch.is_requested
        assert switch.reason == "SIGTERM"


def test_the_former_handler_is_put_back():
    def former(_number, _frame):
        raise AssertionError

    outer = signal.signal(signal.SIGTERM, former)
    try:
        with StopSwitch().listening():
            assert signal.getsignal(signal.SIGTERM) is not former
        assert signal.getsignal(signal.SIGTERM) is former
    finally:
        signal.signal(signal.SIGTERM, outer)


def test_the_former_handler_is_back_after_a_signal_too():
    before = signal.getsignal(signal.SIGTERM)
    with StopSwitch().listening():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_leaves_signals_alone_and_can_still_request():
    before = signal.getsignal(signal.SIGTERM)
    switch = StopSwitch()
    seen = []

    def run():
        with switch.listening():
            seen.append(signal.getsignal(signal.SIGTERM))
            switch.request("cancelled")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
    assert switch.is_requested


def test_the_first_reason_stays_until_the_request_is_forgotten():
    switch = StopSwitch()
    switch.request("cancelled by ana")
    switch.request("SIGTERM")
    assert switch.reason == "cancelled by ana"
    switch.clear()
    assert not switch.is_requested
    assert switch.reason == ""


def test_a_second_sigterm_ends_the_process_at_once():
    script = """
import os, signal, time
from utils.training.engine.interrupt import StopSwitch
switch = StopSwitch()
with switch.listening():
    os.kill(os.getpid(), signal.SIGTERM)
    assert switch.is_requested
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{root}/shared"},
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGTERM


def test_an_interruption_ends_the_process_with_143_and_passes_except_exception():
    interruption = TrainingInterrupted(Path("c.pt"), "SIGTERM")
    assert interruption.code == 143
    assert "resume from c.pt" in str(interruption)
    assert not isinstance(interruption, Exception)  # `except Exception` does not swallow it
    assert isinstance(interruption, SystemExit)
