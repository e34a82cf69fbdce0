"""Hooks: partial, several, and what they raise."""

from __future__ import annotations

import logging

import pytest

from utils.training.engine.hooks import HookCaller


class Recorder:
    def __init__(self):
        self.calls = []

    def on_epoch_start(self, epoch):
        self.calls.append(("start", epoch))

    def on_batch_end(self, batch_idx, loss):
        self.calls.append((batch_idx, loss))


def test_no_hooks_listen_to_nothing():
    caller = HookCaller(None)
    assert not caller.has("on_batch_end")
    caller.call("on_epoch_start", 0)


def test_a_partial_hooks_object_gets_only_its_events():
    recorder = Recorder()
    caller = HookCaller(recorder)
    caller.call("on_epoch_start", 3)
    caller.call("on_training_end")
    caller.call("on_batch_end", 1, 0.5)
    assert recorder.calls == [("start", 3), (1, 0.5)]
    assert caller.has("on_batch_end")
    assert not caller.has("on_epoch_end")


def test_several_hooks_are_called_in_their_order():
    first, second = Recorder(), Recorder()
    second.calls = first.calls
    HookCaller([first, second]).call("on_epoch_start", 0)
    assert first.calls == [("start", 0)] * 2


def test_an_error_keeps_its_type_and_tells_its_hook():
    class Broken:
        def on_epoch_end(self, epoch, metrics):
            raise KeyError("f1")

    with pytest.raises(KeyError) as caught:
        HookCaller(Broken()).call("on_epoch_end", 2, {"val_loss": 1.0})
    (note,) = caught.value.__notes__
    assert "Broken.on_epoch_end(2, {'val_loss': 1.0})" in note


def test_a_misspelt_event_is_warned_about_with_the_nearest_name(caplog):
    class Misspelt:
        def on_epoch_ended(self):
            raise AssertionError

    with caplog.at_level(logging.WARNING):
        HookCaller(Misspelt()).call("on_epoch_end", 0, {})
    assert "did you mean on_epoch_end?" in caplog.text
