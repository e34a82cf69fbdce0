"""The two loops: what a step does, in which order, and what an epoch adds up to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from utils.training.engine import (
    GradientAccumulator,
    GradientMonitor,
    TrainingLoop,
    ValidationLoop,
    get_loss_strategy,
)
from utils.training.engine.gradient_monitor import GradientInstabilityError
from utils.training.engine.loop import flag_final
from utils.training.engine.precision import create_precision
from utils.training.task_spec import TaskSpec

TEXT = TaskSpec(name="text", vocab_size=16, pad_token_id=0)
ROWS = TaskSpec(name="rows", modality="tabular", num_classes=3)


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16)

    def forward(self, input_ids):
        return self.head(self.embed(input_ids))


def ragged(lengths, width=12):
    """One row a length: so many real tokens, then padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 16, (len(lengths), width), generator=generator)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long(), "labels": ids * mask}


def rows(batch, start, stop):
    return {name: value[start:stop] for name, value in batch.items()}


def text_loop(accumulation_steps, **options):
    torch.manual_seed(0)
    model = Bigram()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    accumulator = GradientAccumulator(
        optimizer, accumulation_steps=accumulation_steps, max_grad_norm=None
    )
    strategy = get_loss_strategy("language_modeling")
    loop = TrainingLoop(
        model, optimizer, strategy, accumulator, device="cpu", task_spec=TEXT, **options
    )
    return model, loop


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def row_loop(monitor=None, tracker=None, log_interval_steps=10):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainingLoop(
        model,
        optimizer,
        get_loss_strategy("classification"),
        gradient_monitor=monitor,
        metrics_tracker=tracker,
        device="cpu",
        task_spec=ROWS,
        log_interval_steps=log_interval_steps,
    )


def row_batches(count, size=5):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 4, generator=generator),
            torch.randint(0, 3, (size,), generator=generator),
        )
        for _ in range(count)
    ]


class Tracker:
    def __init__(self):
        self.logged = []

    def log_metrics(self, metrics, step):
        self.logged.append((step, metrics))


@pytest.mark.parametrize(
    "lengths", [[12, 3, 7, 2, 11, 4, 5, 9], [2, 12, 12, 3, 9, 2], [12, 2, 2]], ids=str
)
def test_micro_batches_equal_one_big_batch_however_uneven(lengths):
    batch = ragged(lengths)
    big_model, big_loop = text_loop(accumulation_steps=1)
    big = big_loop.run_epoch([batch], epoch=0)
    model, loop = text_loop(accumulation_steps=len(lengths) + 1)
    before = weights(model)
    small = loop.run_epoch([rows(batch, i, i + 1) for i in range(len(lengths))], epoch=0)
    expected = weights(big_model) - before
    error = (weights(model) - before - expected).norm() / expected.norm()
    assert error < 1e-6
    assert small.avg_loss == pytest.approx(big.avg_loss, rel=1e-6)
    assert small.item_count == big.item_count == sum(lengths) - len(lengths)


def test_the_short_last_window_is_the_mean_over_what_it_holds():
    batch = ragged([12, 3, 7, 2, 9])
    model, loop = text_loop(accumulation_steps=3)
    loop.run_epoch([rows(batch, i, i + 1) for i in range(5)], epoch=0)
    expected, by_hand = text_loop(accumulation_steps=1)
    by_hand.run_epoch([rows(batch, 0, 3), rows(batch, 3, 5)], epoch=0)
    torch.testing.assert_close(weights(model), weights(expected), rtol=1e-6, atol=1e-6)


def test_a_loop_without_its_optional_parts_trains():
    loop = row_loop()
    batches = row_batches(30)
    first, second = loop.run_epoch(batches, epoch=0), loop.run_epoch(batches, epoch=1)
    assert second.avg_loss < first.avg_loss
    assert (first.batch_count, first.sample_count, first.skipped_steps) == (30, 150, 0)
    assert first.max_gradient_norm > 0


def test_an_epoch_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="training data had no batch in epoch 3; give a dataset"):
        row_loop().run_epoch([], epoch=3)


def test_accuracy_of_a_language_model_is_that_of_tokens():
    model, loop = text_loop(accumulation_steps=1)
    with torch.no_grad():  # predicts token 3, whatever came before
        model.head.weight.zero_()
        model.head.bias.copy_(10.0 * nn.functional.one_hot(torch.tensor(3), 16))
    ids = torch.tensor([[3, 3, 3, 5, 0], [3, 5, 3, 0, 0]])
    batch = {"input_ids": ids, "labels": ids, "attention_mask": (ids > 0).long()}
    assert loop.run_epoch([batch], epoch=0).avg_accuracy == pytest.approx(3 / 5)


def test_the_schedule_moves_once_a_step_and_not_on_skipped_ones():
    loop = row_loop()
    scheduler = torch.optim.lr_scheduler.StepLR(loop.optimizer, 1, gamma=0.5)
    batches = row_batches(3)
    batches[1][0].fill_(math.nan)
    result = loop.run_epoch(batches, epoch=0, scheduler=scheduler)
    assert result.learning_rate == pytest.approx(0.1 * 0.5**2)


def test_a_batch_with_nan_changes_nothing_and_is_counted(caplog):
    good = row_batches(3)
    expected = row_loop()
    expected.run_epoch([good[0], good[2]], epoch=0)
    found = row_loop(monitor=GradientMonitor(max_consecutive_failures=2))
    result = found.run_epoch([good[0], (good[1][0] / 0, good[1][1]), good[2]], epoch=0)
    assert torch.equal(weights(found.model), weights(expected.model))
    assert (result.skipped_steps, result.batch_count) == (1, 3)
    assert math.isfinite(result.avg_loss)
    assert math.isfinite(result.max_gradient_norm)
    assert "batches [1]" in caplog.text


def test_nan_too_often_in_a_row_halts():
    loop = row_loop(monitor=GradientMonitor(max_consecutive_failures=3))
    bad = [(inputs / 0, labels) for inputs, labels in row_batches(5)]
    with pytest.raises(GradientInstabilityError, match="3 consecutive"):
        loop.run_epoch(bad, epoch=0)


def test_a_tracker_gets_means_over_the_interval():
    tracker = Tracker()
    loop = row_loop(tracker=tracker, log_interval_steps=4)
    losses = [
        step.read_loss() for step in loop.steps(row_batches(9), _sums()) if step.is_optimizer_step
    ]
    assert [step for step, _ in tracker.logged] == [4, 8]
    first, second = (metrics for _, metrics in tracker.logged)
    assert first["train/loss"] == pytest.approx(sum(losses[:4]) / 4)
    assert second["train/loss"] == pytest.approx(sum(losses[4:8]) / 4)
    assert set(first) == {
        "train/loss",
        "train/accuracy",
        "train/gradient_norm",
        "train/learning_rate",
        "train/samples_per_second",
    }


def _sums():
    from utils.training.engine.epoch_sums import EpochSums

    return EpochSums()


def test_a_task_without_accuracy_logs_none():
    class Distance:
        def compute_loss(self, inputs):
            return (inputs["logits"] - inputs["labels"]).square().mean()

    tracker = Tracker()
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = TrainingLoop(
        model, optimizer, Distance(), metrics_tracker=tracker, device="cpu", log_interval_steps=1
    )
    result = loop.run_epoch([(torch.randn(2, 4), torch.randn(2, 3))], epoch=0)
    assert math.isnan(result.avg_accuracy)
    assert "train/accuracy" not in tracker.logged[0][1]


def test_the_loss_is_computed_once_and_outside_a_hugging_face_model():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=16,
            n_positions=12,
            n_embd=8,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    batch = ragged([12, 4])
    expected = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["labels"].masked_fill(batch["attention_mask"] == 0, -100),
    ).loss.item()
    seen = []
    model.register_forward_hook(
        lambda _module, _args, kwargs, output: seen.append((kwargs.get("labels"), output.loss)),
        with_kwargs=True,
    )
    loop = TrainingLoop(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        get_loss_strategy("causal_lm"),
        device="cpu",
        task_spec=TEXT,
    )
    result = loop.run_epoch([batch], epoch=0)
    assert seen == [(None, None)]
    assert result.avg_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_mixed_precision_trains(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    precision = create_precision(mode, torch.device("cpu"))
    loop = TrainingLoop(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        get_loss_strategy("classification"),
        device="cpu",
        precision=precision,
    )
    batches = row_batches(20)
    losses = [loop.run_epoch(batches, epoch).avg_loss for epoch in range(4)]
    assert losses[-1] < losses[0]
    assert model[0].weight.dtype == torch.float32


def test_validation_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loop = ValidationLoop(model, get_loss_strategy("classification"), device="cpu")
    batches = row_batches(4)
    first, second = loop.run_epoch(batches, 0), loop.run_epoch(batches, 0)
    assert first.avg_loss == second.avg_loss
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_validation_measures_loss_accuracy_and_confidence():
    inputs = torch.eye(3)
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3) * 50)
    tracker = Tracker()
    loop = ValidationLoop(model, get_loss_strategy("classification"), tracker, device="cpu")
    result = loop.run_epoch([(inputs, torch.tensor([0, 1, 1]))], epoch=2)
    assert result.avg_accuracy == pytest.approx(2 / 3)
    assert loop.confidence.top1_confidence == pytest.approx(1.0)
    assert loop.confidence.calibration_error == pytest.approx(1 / 3)
    ((step, metrics),) = tracker.logged
    assert step == 2
    assert metrics["val/accuracy"] == pytest.approx(2 / 3)
    assert metrics["val/calibration_error"] == pytest.approx(1 / 3)


def test_every_batch_comes_once_and_the_last_of_a_short_window_is_final():
    flagged = list(flag_final(iter("abcdefg"), window_size=3))
    assert [batch for batch, _ in flagged] == list("abcdefg")
    assert [is_final for _, is_final in flagged] == [False] * 6 + [True]


@pytest.mark.parametrize("window_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(9))
def test_a_cut_window_is_flagged_for_any_length(window_size, count):
    flags = [is_final for _, is_final in flag_final(range(count), window_size)]
    expected = [False] * count
    if count % window_size:
        expected[-1] = True
    assert flags == expected


def test_nothing_is_drawn_beyond_a_window_before_it_has_closed():
    drawn = []

    def source():
        for index in range(7):
            drawn.append(index)
            yield index

    for batch, _ in flag_final(source(), window_size=3):
        window_end = batch - batch % 3 + 2
        assert max(drawn) <= window_end


def test_batches_come_from_any_loader():
    data = [(inputs[0], labels[0]) for inputs, labels in row_batches(10)]
    result = row_loop().run_epoch(DataLoader(data, batch_size=4), epoch=0)
    assert (result.batch_count, result.sample_count) == (3, 10)
