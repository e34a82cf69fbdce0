"""Accumulation: k micro-batches are one big batch, whatever they hold, and NaN never steps."""

from __future__ import annotations

import copy
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.nn import functional as F  # noqa: N812 - as PyTorch writes it

from utils.training.engine.gradient_accumulator import AccumulationStats, GradientAccumulator
from utils.training.engine.gradient_monitor import GradientInstabilityError, GradientMonitor
from utils.training.engine.loss import (
    ClassificationLoss,
    LanguageModelingLoss,
    VisionLoss,
    loss_terms,
)

VOCAB, LENGTH, MICRO_BATCH, STEPS = 32, 16, 2, 4
UNEVEN = [16, 16, 15, 14, 3, 2, 2, 2]  # real tokens of each sequence
ONE_ALL_IGNORED = [16, 12, 0, 0, 7, 7, 3, 2]
FIRST_ALL_IGNORED = [0, 0, 16, 12, 7, 7, 3, 2]
SHORT_WINDOWS = [16, 9, 4, 2]
ONE_MICRO_BATCH = [16, 3]


def weights_of(model):
    return torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])


def relative_error(model, expected, start):
    update, reference = weights_of(model) - start, weights_of(expected) - start
    return ((update - reference).norm() / reference.norm()).item()


def small_language_model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(VOCAB, 8), nn.Linear(8, VOCAB)).to(dtype)


def gpt2(dtype=torch.float32):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_positions=LENGTH,
        n_embd=16,
        n_layer=1,
        n_head=2,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    return transformers.GPT2LMHeadModel(config).to(dtype)


def sequences(lengths, padding):
    """Inputs of a language-modelling loss, padded by label, by mask, or by id."""
    torch.manual_seed(1)
    ids = torch.randint(1, VOCAB, (len(lengths), LENGTH))
    mask = (torch.arange(LENGTH) < torch.tensor(lengths)[:, None]).long()
    if padding == "mask":
        return {"input_ids": ids, "labels": ids, "attention_mask": mask}
    filler = -100 if padding == "label" else 0
    return {"input_ids": ids, "labels": ids.masked_fill(mask == 0, filler)}


def terms_of(model, strategy, batch):
    inputs = {name: value for name, value in batch.items() if name != "input_ids"}
    output = model(batch["input_ids"])
    return loss_terms(strategy, {**inputs, "logits": getattr(output, "logits", output)})


def rows(data, start, stop):
    whole = {"class_weights"}
    return {name: v if name in whole else v[start:stop] for name, v in data.items()}


def update_by_one_big_batch(model, strategy, data, max_grad_norm=None):
    model = copy.deepcopy(model)
    terms_of(model, strategy, data).loss.backward()
    if max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    return model


def update_by_accumulation(model, strategy, data, count=None, **arguments):
    """Accumulate over ``data``; ``count`` turns a batch's terms into num_items."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    arguments = {"accumulation_steps": STEPS, "max_grad_norm": None, **arguments}
    accumulator = GradientAccumulator(optimizer, **arguments)
    size = len(data["labels"])
    stepped = False
    for start in range(0, size, MICRO_BATCH):
        terms = terms_of(model, strategy, rows(data, start, start + MICRO_BATCH))
        stepped = accumulator.accumulate(
            terms.loss,
            model,
            is_final_batch=start + MICRO_BATCH >= size,
            num_items=None if count is None else count(terms.num_items),
        )
    assert stepped
    assert accumulator.effective_step == 1
    return model


def update_by_the_naive_formula(model, strategy, data):
    """Each loss over accumulation_steps, as most loops do."""
    model = copy.deepcopy(model)
    for start in range(0, len(data["labels"]), MICRO_BATCH):
        terms = terms_of(model, strategy, rows(data, start, start + MICRO_BATCH))
        (terms.loss / STEPS).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    return model


def as_tensor(num_items):
    return num_items


def as_number(num_items):
    return num_items.item()


class TestEqualsOneBigBatch:
    @pytest.mark.parametrize("padding", ["label", "mask", "id"])
    @pytest.mark.parametrize("count", [as_tensor, as_number])
    @pytest.mark.parametrize(
        "lengths",
        [UNEVEN, ONE_ALL_IGNORED, FIRST_ALL_IGNORED, SHORT_WINDOWS, ONE_MICRO_BATCH],
        ids=["uneven", "one ignored", "first ignored", "short window", "one micro-batch"],
    )
    @pytest.mark.parametrize("make_model", [small_language_model, gpt2])
    def test_for_uneven_tokens_and_short_windows(self, make_model, lengths, count, padding):
        model, strategy = make_model(torch.float64), LanguageModelingLoss()
        data, start = sequences(lengths, padding), weights_of(model)
        expected = update_by_one_big_batch(model, strategy, data)
        ours = update_by_accumulation(model, strategy, data, count)
        naive = update_by_the_naive_formula(model, strategy, data)
        assert relative_error(ours, expected, start) < 1e-13
        assert relative_error(naive, expected, start) > 0.1

    @pytest.mark.parametrize("make_model", [small_language_model, gpt2])
    def test_in_float32(self, make_model):
        model, strategy, data = make_model(), LanguageModelingLoss(), sequences(UNEVEN, "mask")
        expected = update_by_one_big_batch(model, strategy, data)
        ours = update_by_accumulation(model, strategy, data, as_tensor)
        assert relative_error(ours, expected, weights_of(model)) < 1e-6

    def test_with_clipping_and_a_monitor(self):
        model, strategy, data = gpt2(torch.float64), LanguageModelingLoss(), sequences(UNEVEN, "id")
        expected = update_by_one_big_batch(model, strategy, data, max_grad_norm=0.1)
        ours = update_by_accumulation(
            model, strategy, data, as_tensor, max_grad_norm=0.1, monitor=GradientMonitor()
        )
        assert relative_error(ours, expected, weights_of(model)) < 1e-6

    @pytest.mark.parametrize("count", [as_tensor, as_number])
    @pytest.mark.parametrize("scale", [1.0, 1e-5], ids=["weights", "tiny weights"])
    def test_with_class_weights(self, count, scale):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
        data = {
            "input_ids": torch.randn(8, 5, dtype=torch.float64),
            "labels": torch.tensor([0, 0, 1, 2, 2, 2, 1, -100]),
            "class_weights": scale * torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64),
        }
        expected = update_by_one_big_batch(model, ClassificationLoss(), data)
        ours = update_by_accumulation(model, ClassificationLoss(), data, count)
        naive = update_by_the_naive_formula(model, ClassificationLoss(), data)
        start = weights_of(model)
        assert relative_error(ours, expected, start) < 1e-13
        assert relative_error(naive, expected, start) > 0.1

    def test_with_ignored_pixels(self):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 1).double()
        labels = torch.randint(0, 4, (8, 5, 5))
        labels[:3, 1:] = -100
        data = {"input_ids": torch.randn(8, 3, 5, 5, dtype=torch.float64), "labels": labels}
        expected = update_by_one_big_batch(model, VisionLoss(), data)
        ours = update_by_accumulation(model, VisionLoss(), data, as_tensor)
        assert relative_error(ours, expected, weights_of(model)) < 1e-13

    def test_without_counts_a_short_window_is_the_mean_over_what_it_holds(self):
        model, strategy = small_language_model(torch.float64), LanguageModelingLoss()
        data = sequences([LENGTH] * 6, "label")
        expected = update_by_one_big_batch(model, strategy, data)
        ours = update_by_accumulation(model, strategy, data)
        naive = update_by_the_naive_formula(model, strategy, data)
        start = weights_of(model)
        assert relative_error(ours, expected, start) < 1e-13
        assert relative_error(naive, expected, start) == pytest.approx(0.25)

    def test_a_window_without_any_item_changes_nothing(self):
        model, data = small_language_model(), sequences([0] * 8, "label")
        ours = update_by_accumulation(model, LanguageModelingLoss(), data, as_tensor)
        assert torch.equal(weights_of(ours), weights_of(model))

    @pytest.mark.parametrize("count", [as_tensor, as_number])
    @pytest.mark.parametrize(
        "lengths", [UNEVEN, FIRST_ALL_IGNORED, ONE_MICRO_BATCH, [0] * STEPS * MICRO_BATCH]
    )
    @pytest.mark.parametrize("steps", [1, STEPS])
    def test_for_summed_losses(self, steps, lengths, count):
        """A sum with its count is the same as their quotient, one micro-batch a step too."""
        strategy, data = LanguageModelingLoss(), sequences(lengths, "label")
        results = []
        for is_total in (False, True):
            model = small_language_model(torch.float64)
            scaler = GradScaler("cpu", init_scale=2.0**10)
            optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
            accumulator = GradientAccumulator(optimizer, steps, 0.01, scaler=scaler)
            for start in range(0, len(lengths), MICRO_BATCH):
                terms = terms_of(model, strategy, rows(data, start, start + MICRO_BATCH))
                accumulator.accumulate(
                    terms.total if is_total else terms.loss,
                    model,
                    is_final_batch=start + MICRO_BATCH >= len(lengths),
                    num_items=count(terms.num_items),
                    is_total=is_total,
                )
            results.append((weights_of(model), accumulator.last_grad_norm))
        (by_mean, norm_by_mean), (by_total, norm_by_total) = results
        torch.testing.assert_close(by_total, by_mean, rtol=1e-12, atol=1e-14)
        assert norm_by_total == pytest.approx(norm_by_mean)

    def test_a_loss_of_one_element_with_a_dimension_is_taken(self):
        model = nn.Linear(1, 1).double()
        accumulator = GradientAccumulator(torch.optim.SGD(model.parameters(), lr=1.0), 2)
        for items in (1, torch.tensor(3)):
            accumulator.accumulate(
                model(torch.ones(1, dtype=torch.float64)), model, num_items=items
            )
        assert accumulator.last_grad_norm == pytest.approx(math.sqrt(2))


def linear(*, steps=1, lr=0.1, optimizer=torch.optim.AdamW, **arguments):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, GradientAccumulator(optimizer(model.parameters(), lr=lr), steps, **arguments)


def loss_of(model, factor=1.0):
    return (model(torch.ones(4, 3)) * factor).square().mean()


class TestStepping:
    def test_steps_at_the_end_of_each_window_and_on_the_final_batch(self):
        model, accumulator = linear(steps=4)
        stepped = [
            accumulator.accumulate(loss_of(model), model, is_final_batch=batch == 9)
            for batch in range(10)
        ]
        assert [batch for batch, did in enumerate(stepped) if did] == [3, 7, 9]
        assert accumulator.effective_step == 3
        assert accumulator.at_window_start

    def test_stats_follow(self):
        model, accumulator = linear(steps=2, batch_size=8, max_grad_norm=None)
        accumulator.accumulate(loss_of(model), model)
        assert accumulator.stats == AccumulationStats(1, 0, 1, 16, True, 0.0)
        accumulator.accumulate(loss_of(model), model)
        stats = accumulator.stats
        assert (stats.total_steps, stats.optimizer_steps, stats.current_accumulation) == (2, 1, 0)
        assert not stats.is_accumulating
        assert stats.last_grad_norm == accumulator.last_grad_norm > 0

    def test_gradients_are_gone_after_a_step(self):
        model, accumulator = linear()
        accumulator.accumulate(loss_of(model), model)
        assert all(p.grad is None for p in model.parameters())

    @pytest.mark.parametrize("steps", [1, 3])
    def test_clips_to_the_norm_and_reports_it_unclipped(self, steps):
        model, accumulator = linear(
            steps=steps, lr=1.0, optimizer=torch.optim.SGD, max_grad_norm=0.01
        )
        before = weights_of(model)
        expected = torch.autograd.grad(loss_of(model), list(model.parameters()))
        for _ in range(steps):
            accumulator.accumulate(loss_of(model), model)
        norm = torch.nn.utils.get_total_norm(expected).item()
        assert accumulator.last_grad_norm == pytest.approx(norm)
        assert (weights_of(model) - before).norm().item() == pytest.approx(0.01, rel=1e-3)

    @pytest.mark.parametrize("max_grad_norm", [None, 100.0])
    def test_does_not_touch_gradients_within_the_norm(self, max_grad_norm):
        model, accumulator = linear(lr=1.0, optimizer=torch.optim.SGD, max_grad_norm=max_grad_norm)
        expected = copy.deepcopy(model)
        loss_of(expected).backward()
        torch.optim.SGD(expected.parameters(), lr=1.0).step()
        accumulator.accumulate(loss_of(model), model)
        assert torch.equal(weights_of(model), weights_of(expected))

    def test_the_optimizers_own_hooks_fire(self):
        model, accumulator = linear()
        calls = []
        accumulator.optimizer.register_step_post_hook(lambda *_: calls.append(1))
        scheduler = torch.optim.lr_scheduler.LambdaLR(accumulator.optimizer, lambda step: 0.5**step)
        accumulator.accumulate(loss_of(model), model)
        scheduler.step()
        assert calls == [1]

    def test_a_parameter_group_added_later_is_clipped_too(self):
        model, accumulator = linear(optimizer=torch.optim.SGD, lr=1.0, max_grad_norm=1e-3)
        extra = nn.Linear(2, 1)
        accumulator.accumulate(loss_of(model), model)
        accumulator.optimizer.add_param_group({"params": extra.parameters()})
        before = weights_of(extra)
        accumulator.accumulate(extra(model(torch.ones(1, 3))).square().sum() * 1e4, model)
        assert 0 < (weights_of(extra) - before).norm().item() < 2e-3

    def test_a_parameter_unfrozen_later_is_trained_and_measured(self):
        model, accumulator = linear(monitor=GradientMonitor(), optimizer=torch.optim.SGD)
        model.bias.requires_grad_(requires_grad=False)
        accumulator.accumulate(loss_of(model), model)
        before = accumulator.last_grad_norm
        model.bias.requires_grad_(requires_grad=True)
        accumulator.accumulate(loss_of(model), model)
        assert accumulator.last_grad_norm > before / 2
        assert accumulator.last_health.is_healthy

    def test_an_optimizer_without_gradients_is_warned_of_once(self, caplog):
        model, _ = linear()
        other = nn.Linear(1, 1)
        accumulator = GradientAccumulator(torch.optim.SGD(other.parameters(), lr=1.0))
        for _ in range(3):
            assert accumulator.accumulate(loss_of(model), model)
        assert len(caplog.records) == 1

    def test_fp16_counts_and_weights_stay_in_range(self):
        model, accumulator = linear(steps=2)
        for items in (torch.tensor(60_000), torch.tensor(70_000)):
            accumulator.accumulate(loss_of(model).half(), model, num_items=items)
        assert math.isfinite(accumulator.last_grad_norm)
        assert accumulator.effective_step == 1


class TestBrokenWindows:
    @pytest.mark.parametrize("position", range(4))
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_nan_at_any_place_of_a_window_leaves_all_as_it_was(self, position, value, caplog):
        model, accumulator = linear(steps=4, monitor=GradientMonitor())
        for _ in range(4):
            accumulator.accumulate(loss_of(model), model)
        weights, state = weights_of(model), copy.deepcopy(accumulator.optimizer.state_dict())

        stepped = [
            accumulator.accumulate(loss_of(model, value if batch == position else 1.0), model)
            for batch in range(4)
        ]

        assert stepped == [False] * 4
        assert torch.equal(weights_of(model), weights)
        after = accumulator.optimizer.state_dict()["state"]
        for key, values in state["state"].items():
            assert all(torch.equal(after[key][name], values[name]) for name in values)
        assert all(p.grad is None for p in model.parameters())
        stats = accumulator.stats
        assert (stats.optimizer_steps, stats.skipped_steps, stats.total_steps) == (1, 1, 8)
        assert accumulator.at_window_start
        assert accumulator.last_skipped_batches == (4, 5, 6, 7)
        assert "[4, 5, 6, 7]" in caplog.text
        assert not accumulator.last_health.is_finite

    def test_training_goes_on_after_a_skip(self):
        model, accumulator = linear(steps=2)
        for factor in (1.0, math.nan, 1.0, 1.0):
            stepped = accumulator.accumulate(loss_of(model, factor), model)
        assert stepped
        assert torch.isfinite(weights_of(model)).all()
        assert math.isfinite(accumulator.last_grad_norm)

    def test_the_nth_in_a_row_halts_with_clean_gradients(self):
        model, accumulator = linear(monitor=GradientMonitor(max_consecutive_failures=3))
        for factor in (math.nan, math.nan, 1.0, math.nan, math.nan):
            accumulator.accumulate(loss_of(model, factor), model)
        with pytest.raises(GradientInstabilityError, match="3 consecutive"):
            accumulator.accumulate(loss_of(model, math.nan), model)
        assert accumulator.stats.skipped_steps == 5
        assert accumulator.last_health.has_nan
        assert accumulator.at_window_start
        assert all(p.grad is None for p in model.parameters())

    def test_without_a_monitor_every_one_is_skipped_with_a_warning(self, caplog):
        model, accumulator = linear()
        for _ in range(5):
            assert not accumulator.accumulate(loss_of(model, math.nan), model)
        assert accumulator.stats.skipped_steps == 5
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 5
        assert "weight (NaN)" in caplog.text

    def test_no_clipping_keeps_the_check(self):
        model, accumulator = linear(max_grad_norm=None)
        assert not accumulator.accumulate(loss_of(model, math.nan), model)

    def test_a_finite_gradient_of_3e19_is_clipped_and_applied(self):
        model, accumulator = linear(
            optimizer=torch.optim.SGD, lr=1.0, monitor=GradientMonitor(max_consecutive_failures=1)
        )
        before = weights_of(model)
        assert accumulator.accumulate(3e19 * model(torch.ones(1, 3)).sum(), model)
        assert accumulator.last_health.exploding_layers == ["weight", "bias"]
        assert (weights_of(model) - before).norm().item() == pytest.approx(1.0, rel=1e-5)

    def test_indices_count_within_the_epoch(self):
        model, accumulator = linear(steps=2)
        accumulator.accumulate(loss_of(model), model, is_final_batch=True)
        accumulator.accumulate(loss_of(model, math.nan), model, is_final_batch=True)
        assert accumulator.last_skipped_batches == (0,)

    def test_health_is_of_the_mean_gradient_before_clipping(self):
        model, accumulator = linear(steps=2, max_grad_norm=1e-6, monitor=GradientMonitor())
        gradients = torch.autograd.grad(loss_of(model), list(model.parameters()))
        for _ in range(2):
            accumulator.accumulate(loss_of(model), model)
        greatest = max(gradient.norm().item() for gradient in gradients)
        assert accumulator.last_health.max_norm == pytest.approx(greatest)


class TestLossScaling:
    def scaled(self, *, scale=2.0**16, steps=1, **arguments):
        scaler = GradScaler("cpu", init_scale=scale)
        return *linear(steps=steps, scaler=scaler, **arguments), scaler

    @pytest.mark.parametrize("steps", [1, 3])
    def test_steps_as_without_a_scaler(self, steps):
        model, accumulator, _ = self.scaled(steps=steps, max_grad_norm=0.01)
        plain, without = linear(steps=steps, max_grad_norm=0.01)
        for items in range(1, 1 + 2 * steps):
            accumulator.accumulate(loss_of(model), model, num_items=items)
            without.accumulate(loss_of(plain), plain, num_items=items)
        assert accumulator.last_grad_norm == pytest.approx(without.last_grad_norm)
        torch.testing.assert_close(weights_of(model), weights_of(plain))

    def test_an_overflow_backs_off_and_is_no_step_nor_failure(self, caplog):
        monitor = GradientMonitor(max_consecutive_failures=1)
        model, accumulator, scaler = self.scaled(scale=1e38, monitor=monitor, lr=1e-3)
        before = weights_of(model)
        loss = 10 * loss_of(model)
        assert not accumulator.accumulate(loss, model)
        assert scaler.get_scale() == pytest.approx(0.5e38)
        assert torch.equal(weights_of(model), before)
        assert not accumulator.optimizer.state
        assert (accumulator.effective_step, accumulator.stats.skipped_steps) == (0, 1)
        assert monitor.consecutive_failures == 0
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        while not accumulator.accumulate(10 * loss_of(model), model):
            pass
        assert accumulator.effective_step == 1
        assert torch.isfinite(weights_of(model)).all()

    def test_nan_counts_once_the_scale_is_down_to_1(self):
        monitor = GradientMonitor(max_consecutive_failures=2)
        model, accumulator, scaler = self.scaled(scale=4.0, monitor=monitor)
        for _ in range(3):
            accumulator.accumulate(loss_of(model, math.nan), model)
        assert scaler.get_scale() < 1
        with pytest.raises(GradientInstabilityError):
            accumulator.accumulate(loss_of(model, math.nan), model)
        assert accumulator.stats.skipped_steps == 4

    def test_a_disabled_scaler_is_no_scaler(self):
        scaler = GradScaler("cpu", enabled=False)
        model, accumulator = linear(scaler=scaler, monitor=GradientMonitor())
        assert accumulator.accumulate(loss_of(model), model)
        assert accumulator.scaler is None

    def test_a_refused_window_leaves_the_scaler_usable(self):
        model, accumulator, _ = self.scaled(steps=2)
        accumulator.accumulate(loss_of(model), model, num_items=torch.tensor(1.0))
        with pytest.raises(ValueError, match="finite counts"):
            accumulator.accumulate(loss_of(model), model, num_items=torch.tensor(-2.0))
        for _ in range(2):
            stepped = accumulator.accumulate(loss_of(model), model)
        assert stepped


class TestEpochsAndState:
    def test_reset_drops_waiting_gradients_with_a_warning(self, caplog):
        model, accumulator = linear(steps=4)
        accumulator.accumulate(loss_of(model), model)
        accumulator.reset_epoch()
        assert "1 micro-batches" in caplog.text
        assert accumulator.at_window_start
        assert all(p.grad is None for p in model.parameters())

    def test_reset_between_windows_is_silent(self, caplog):
        model, accumulator = linear()
        accumulator.accumulate(loss_of(model), model)
        accumulator.reset_epoch()
        assert not caplog.records
        assert accumulator.effective_step == 1

    def test_state_survives_a_checkpoint(self, tmp_path):
        model, accumulator = linear(steps=2)
        for factor in (1.0, 1.0, math.nan, 1.0):
            accumulator.accumulate(loss_of(model, factor), model)
        torch.save(accumulator.state_dict(), tmp_path / "state.pt")
        _, other = linear(steps=2)
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert repr(other.stats) == repr(accumulator.stats)  # NaN is unequal to itself
        assert other.last_skipped_batches == (2, 3)
        assert other.state_dict().keys() == accumulator.state_dict().keys()

    @pytest.mark.parametrize("items", [7, torch.tensor(7)])
    def test_a_state_within_a_window_goes_on_where_the_gradients_are(self, items):
        model, accumulator = linear(steps=2, max_grad_norm=None)
        straight, without = linear(steps=2, max_grad_norm=None)
        for turn, count in enumerate((items, 3)):
            without.accumulate(loss_of(straight), straight, num_items=count)
            accumulator.accumulate(loss_of(model), model, num_items=count)
            if turn == 0:
                accumulator.load_state_dict(accumulator.state_dict())
        torch.testing.assert_close(weights_of(model), weights_of(straight))

    def test_a_state_within_a_window_without_its_gradients_keeps_the_window_ends(self, caplog):
        model, accumulator = linear(steps=4)
        for _ in range(3):
            accumulator.accumulate(loss_of(model), model)
        fresh, other = linear(steps=4, max_grad_norm=None)
        other.load_state_dict(accumulator.state_dict())
        assert "gradients are gone" in caplog.text
        gradients = torch.autograd.grad(loss_of(fresh), list(fresh.parameters()))
        assert other.accumulate(loss_of(fresh), fresh)
        assert other.last_grad_norm == pytest.approx(
            torch.nn.utils.get_total_norm(gradients).item()
        )

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"position": 4}, "accumulation_steps is 4 now"),
            ({"position": -1}, "position in the state is -1"),
            ({"optimizer_steps": 1.5}, "optimizer_steps in the state is 1.5"),
            ({"other": 1}, "give what state_dict"),
        ],
    )
    def test_a_state_that_is_none_is_refused(self, change, fault):
        _, accumulator = linear(steps=4)
        with pytest.raises(ValueError, match=fault):
            accumulator.load_state_dict({**accumulator.state_dict(), **change})


class TestLightning:
    def trainer(self, steps):
        return SimpleNamespace(accumulate_grad_batches=steps, global_step=11)

    def test_leaves_everything_to_a_trainer_that_accumulates(self):
        model, accumulator = linear(trainer=self.trainer(4), batch_size=8)
        before = weights_of(model)
        assert accumulator.is_lightning_managed
        assert not accumulator.accumulate(loss_of(model), model, is_final_batch=True)
        assert model.weight.grad is None
        assert torch.equal(weights_of(model), before)
        assert (accumulator.effective_batch_size, accumulator.effective_step) == (32, 11)
        assert accumulator.stats.total_steps == 0

    @pytest.mark.parametrize("trainer_steps", [1, None])
    def test_does_it_itself_where_the_trainer_does_not(self, trainer_steps):
        trainer = None if trainer_steps is None else self.trainer(trainer_steps)
        model, accumulator = linear(steps=2, trainer=trainer)
        assert not accumulator.is_lightning_managed
        accumulator.accumulate(loss_of(model), model)
        assert accumulator.accumulate(loss_of(model), model)

    def test_two_that_accumulate_are_a_conflict(self):
        with pytest.raises(ValueError, match="conflict") as error:
            linear(steps=3, trainer=self.trainer(4))
        assert "accumulation_steps: 3" in str(error.value)
        assert "accumulate_grad_batches: 4" in str(error.value)

    def test_what_is_no_trainer_is_refused(self):
        with pytest.raises(ValueError, match="trainer is a str"):
            linear(trainer="lightning")


class TestRefusals:
    def test_every_argument_out_of_range_is_named(self):
        with pytest.raises(ValueError, match="5 faults") as error:
            GradientAccumulator(
                "adam", accumulation_steps=0, max_grad_norm=-1, scaler=object(), batch_size=1.5
            )
        for name in ("optimizer is a str", "accumulation_steps is 0", "max_grad_norm is -1"):
            assert name in str(error.value)

    @pytest.mark.parametrize(
        ("loss", "fault"),
        [
            (3.0, "loss is a float"),
            (torch.tensor(1.0), "loss has no graph"),
            (torch.ones(2, requires_grad=True), r"loss has shape \[2\]"),
        ],
    )
    def test_a_loss_that_is_no_scalar_with_a_graph(self, loss, fault):
        model, accumulator = linear()
        with pytest.raises(ValueError, match=fault):
            accumulator.accumulate(loss, model)
        assert accumulator.stats.total_steps == 0

    @pytest.mark.parametrize("num_items", [-1, math.nan, math.inf, "3", torch.ones(2)])
    def test_num_items_that_are_no_count(self, num_items):
        model, accumulator = linear(steps=2)
        with pytest.raises(ValueError, match="num_items"):
            accumulator.accumulate(loss_of(model), model, num_items=num_items)

    def test_a_count_on_the_device_is_judged_at_the_windows_end(self):
        model, accumulator = linear(steps=2)
        before = weights_of(model)
        accumulator.accumulate(loss_of(model), model, num_items=torch.tensor(math.nan))
        with pytest.raises(ValueError, match="finite counts"):
            accumulator.accumulate(loss_of(model), model, num_items=torch.tensor(1))
        assert torch.equal(weights_of(model), before)
        assert accumulator.at_window_start


def test_a_failing_backward_counts_nothing():
    model, accumulator = linear(steps=2)
    loss = loss_of(model)
    F.mse_loss(loss, torch.zeros(())).backward()
    model.zero_grad()
    with pytest.raises(RuntimeError, match="second time"):
        accumulator.accumulate(loss, model)
    assert accumulator.stats.total_steps == 0
    for _ in range(2):
        stepped = accumulator.accumulate(loss_of(model), model)
    assert stepped
