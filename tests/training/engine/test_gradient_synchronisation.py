"""How often the step waits for the device: once a window, and never in between."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from utils.training.engine.gradient_accumulator import GradientAccumulator
from utils.training.engine.gradient_monitor import GradientMonitor
from utils.training.engine.loss import ClassificationLoss, LanguageModelingLoss, loss_terms

READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
}


class CountReads(TorchDispatchMode):
    """Counts what waits for the device: ``.item()``, ``bool()``, ``==`` and ``nonzero``.

    ``.tolist()`` reads the memory itself and is counted by what wraps it.
    """

    def __init__(self, monkeypatch):
        super().__init__()
        self.count = 0
        tolist = torch.Tensor.tolist

        def counted(tensor):
            self.count += 1
            with _disable_current_modes():
                return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.count += operator in READS
        return operator(*args, **(kwargs or {}))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def language_terms(model):
    logits, labels = model(torch.randn(2, 5, 4)), torch.randint(1, 3, (2, 5))
    return loss_terms(LanguageModelingLoss(), {"logits": logits, "labels": labels})


def test_the_counter_counts(monkeypatch):
    value = torch.tensor(1.0)
    with CountReads(monkeypatch) as reads:
        value.item()
        bool(value)
        value.tolist()
        torch.nonzero(value)
    assert reads.count == 4


def test_losses_never_wait(monkeypatch, model):
    weights = torch.ones(3)
    with CountReads(monkeypatch) as reads:
        language_terms(model)
        inputs = {"logits": model(torch.randn(2, 4)), "labels": torch.tensor([0, 2])}
        loss_terms(ClassificationLoss(), {**inputs, "class_weights": weights})
    assert reads.count == 0


def test_a_check_waits_once(monkeypatch, model):
    language_terms(model).loss.backward()
    with CountReads(monkeypatch) as reads:
        GradientMonitor().check_gradients(model)
    assert reads.count == 1


@pytest.mark.parametrize("steps", [1, 3])
def test_a_window_waits_once_at_its_end(monkeypatch, model, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accumulator = GradientAccumulator(
        optimizer, steps, max_grad_norm=1e-3, monitor=GradientMonitor()
    )
    counts = []
    for _ in range(2 * steps):
        terms = language_terms(model)
        with CountReads(monkeypatch) as reads:
            accumulator.accumulate(terms.loss, model, num_items=terms.num_items)
            assert accumulator.last_grad_norm >= 0
            assert accumulator.stats.last_grad_norm >= 0
        counts.append(reads.count)
    assert counts == [*[0] * (steps - 1), 1] * 2
