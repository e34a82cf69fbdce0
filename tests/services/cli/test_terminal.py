"""What a person sees: real terminals of eighty columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading

import pytest

from services.cli.output import flowing
from tests.services.cli.conftest import call
from tests.waiting import wait_until

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command in a terminal, and all that it wrote there."""

    def __init__(self, *words, folder):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        environment |= {"TRAINCTL_FOLDER": str(folder), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *map(str, words)],
            env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, args=(ours,))
        self._reader.start()

    @property
    def text(self):
        return _ESCAPES.sub("", self._written.decode("utf-8", "replace"))

    def end(self):
        """Wait for its end; return its exit code."""
        code = self.process.wait(120)
        self._reader.join()
        return code

    def _read(self, ours):
        try:
            while piece := os.read(ours, 65536):
                self._written += piece
        except OSError:  # Linux's way to say that the other end is closed
            pass
        os.close(ours)


@pytest.fixture
def terminal(stack):
    """Start commands on the shared stack; none outlives the test."""
    started = []

    def start(*words, folder=stack.folder):
        started.append(Terminal(*words, folder=folder))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.end()


@pytest.mark.slow
def test_a_job_is_a_bar_that_leaves_a_sentence(terminal, trained):
    words = ("submit", "--sample", "digits", "--model-name", "seen", "--epochs", "30")
    seen = terminal(*words, "--reason", "[bold]a[/x] test", "--watch")
    assert seen.end() == 0
    assert re.search(r"job \d+ train +[━╸╺ ]+\d+/1200 +loss [\d.e-]+ +\d+ samples/s", seen.text)
    assert "[bold]a[/x] test" in seen.text
    assert "is completed: version" in seen.text.splitlines()[-2]
    assert max(map(len, re.split(r"[\r\n]+", seen.text))) <= 80


def test_who_stops_watching_is_told_that_the_job_goes_on(terminal, trained, stack):
    words = ("submit", "--sample", "digits", "--epochs", "300", "--json")
    job = call(*words, folder=stack.folder).json()["job_id"]
    seen = terminal("watch", job)
    wait_until(lambda: f"job {job}" in seen.text)
    seen.process.send_signal(signal.SIGINT)
    assert seen.end() == 130
    assert f"Job {job} goes on: `trainctl watch {job}` shows it" in seen.text
    call("cancel", job, folder=stack.folder)
    call("watch", job, folder=stack.folder)


@pytest.mark.slow
def test_a_stack_is_a_live_table_and_ctrl_c_leaves_nothing(terminal, tmp_path):
    folder = tmp_path / "stack"
    seen = terminal("up", "--folder", folder, folder=folder)
    wait_until(lambda: "The platform is ready. Ctrl-C stops it." in seen.text, 120)
    assert f"trainctl submit --sample digits --watch --folder {folder}" not in seen.text
    assert re.search(r"registry +http://127\.0\.0\.1:\d+ +\d+ +ready", seen.text)
    seen.process.send_signal(signal.SIGINT)
    assert seen.end() == 130
    assert "Nothing runs" in call("down", folder=folder).out


def test_sentences_break_between_words(monkeypatch):
    class Screen:
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "20")
    digest = "0123456789abcdef0123456789abcdef"
    broken = flowing(f"The digest of it is {digest}, and so on.", Screen())
    assert broken == f"The digest of it is\n{digest},\nand so on."
