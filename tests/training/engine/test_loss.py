"""Losses: what counts, what the mean is over, and what is refused."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch writes it

from utils.training.engine.loss import (
    ClassificationLoss,
    LanguageModelingLoss,
    LossStrategyRegistry,
    LossTerms,
    PEFTAwareLoss,
    QuantizationSafeLoss,
    VisionLoss,
    get_loss_strategy,
    loss_terms,
)
from utils.training.engine.loss.accuracy import count_correct, predicted_classes
from utils.training.errors import UnknownNameError

BUILT_IN = [
    "language_modeling",
    "causal_lm",
    "classification",
    "vision_classification",
    "segmentation",
]
sizes = st.integers(1, 5)


def random_logits(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def language_inputs(batch=3, seq=6, vocab=7, **more):
    torch.manual_seed(0)
    labels = torch.randint(1, vocab, (batch, seq))
    return {"logits": random_logits(batch, seq, vocab), "labels": labels, **more}


def cross_entropy_by_hand(logits, targets, counted, weights=None):
    """The definition, one target at a time."""
    losses, items = [], []
    rows = logits.reshape(-1, logits.shape[-1])
    flat = zip(rows, targets.reshape(-1), counted.reshape(-1), strict=True)
    for row, target, counts in flat:
        if counts:
            weight = 1.0 if weights is None else weights[target]
            losses.append(-weight * row.log_softmax(-1)[target])
            items.append(weight)
    total = sum(items)
    return (sum(losses) / total if total else torch.zeros((), dtype=logits.dtype)), total


class TestLanguageModelingLoss:
    @given(batch=sizes, seq=sizes, vocab=st.integers(2, 9), data=st.data())
    @settings(max_examples=40)
    def test_equals_the_definition_for_any_shape_mask_and_ignored_label(
        self, batch, seq, vocab, data
    ):
        logits = random_logits(batch, seq, vocab)
        labels = torch.tensor(
            data.draw(
                st.lists(
                    st.lists(st.sampled_from([-100, *range(vocab)]), min_size=seq, max_size=seq),
                    min_size=batch,
                    max_size=batch,
                )
            )
        )
        bits = st.lists(st.integers(0, 1), min_size=batch * seq, max_size=batch * seq)
        mask = data.draw(st.none() | bits)
        inputs = {"logits": logits, "labels": labels, "pad_token_id": 0}
        counted = (labels != -100) & (labels != 0)
        if mask is not None:
            inputs["attention_mask"] = torch.tensor(mask).reshape(batch, seq)
            counted = (labels != -100) & (inputs["attention_mask"] == 1)

        terms = LanguageModelingLoss().compute_terms(inputs)

        expected, items = cross_entropy_by_hand(logits[:, :-1], labels[:, 1:], counted[:, 1:])
        correct = (logits[:, :-1].argmax(-1) == labels[:, 1:]) & counted[:, 1:]
        torch.testing.assert_close(terms.loss, expected)
        assert terms.num_items.item() == terms.num_predictions.item() == items
        assert terms.num_correct.item() == correct.sum()
        terms.loss.backward()
        assert torch.isfinite(logits.grad).all()

    def test_padding_defaults_to_id_0_and_none_switches_that_off(self):
        inputs = language_inputs()
        inputs["labels"][:, 3:] = 0
        strategy = LanguageModelingLoss()
        by_default = strategy.compute_terms(inputs)
        off = strategy.compute_terms({**inputs, "pad_token_id": None})
        other = strategy.compute_terms({**inputs, "pad_token_id": 5})
        assert by_default.num_items.item() == 3 * 2
        assert off.num_items.item() == 3 * 5
        assert other.num_items.item() == 3 * 5 - (inputs["labels"][:, 1:] == 5).sum()

    def test_with_a_mask_a_real_token_with_the_padding_id_counts(self):
        inputs = language_inputs(attention_mask=torch.ones(3, 6), pad_token_id=0)
        inputs["labels"][:, 2] = 0
        assert LanguageModelingLoss().compute_terms(inputs).num_items.item() == 3 * 5

    def test_inputs_stay_as_they_were(self):
        inputs = language_inputs(attention_mask=torch.tensor([[1, 1, 1, 1, 0, 0]] * 3))
        before = {name: value.clone() for name, value in inputs.items()}
        LanguageModelingLoss().compute_terms(inputs)
        assert inputs.keys() == before.keys()
        assert all(torch.equal(inputs[name], value) for name, value in before.items())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_summed_in_float32(self, dtype):
        torch.manual_seed(0)
        logits = (torch.randn(8, 1025, 16) * 4).to(dtype).requires_grad_()
        labels = torch.randint(1, 16, (8, 1025))
        terms = LanguageModelingLoss().compute_terms({"logits": logits, "labels": labels})
        exact = F.cross_entropy(logits[:, :-1].double().reshape(-1, 16), labels[:, 1:].reshape(-1))
        assert terms.loss.dtype == torch.float32
        assert terms.num_items.item() == 8 * 1024
        torch.testing.assert_close(terms.loss.double(), exact, rtol=1e-5, atol=0)

    def test_gradients_equal_those_of_shifted_logits(self):
        inputs = language_inputs()
        LanguageModelingLoss().compute_loss(inputs).backward()
        other = inputs["logits"].detach().clone().requires_grad_()
        F.cross_entropy(
            other[:, :-1].reshape(-1, 7), inputs["labels"][:, 1:].reshape(-1)
        ).backward()
        torch.testing.assert_close(inputs["logits"].grad, other.grad)


class TestClassificationLoss:
    @given(batch=sizes, classes=st.integers(2, 6), weighted=st.booleans(), data=st.data())
    @settings(max_examples=40)
    def test_equals_the_definition_with_and_without_class_weights(
        self, batch, classes, weighted, data
    ):
        logits = random_logits(batch, classes)
        label = st.sampled_from([-100, *range(classes)])
        labels = torch.tensor(data.draw(st.lists(label, min_size=batch, max_size=batch)))
        weights = torch.rand(classes, dtype=torch.float64) + 0.1 if weighted else None
        inputs = {"logits": logits, "labels": labels, "class_weights": weights}

        terms = ClassificationLoss().compute_terms(inputs)

        expected, items = cross_entropy_by_hand(logits, labels, labels != -100, weights)
        torch.testing.assert_close(terms.loss, expected)
        assert terms.num_items.item() == pytest.approx(float(items))
        assert terms.num_predictions.item() == (labels != -100).sum()
        assert terms.num_correct.item() == (logits.argmax(-1) == labels).sum()

    def test_a_sequence_is_judged_by_its_last_token(self):
        logits, labels = random_logits(2, 4, 3), torch.tensor([0, 2])
        strategy = ClassificationLoss()
        loss = strategy.compute_loss({"logits": logits, "labels": labels})
        torch.testing.assert_close(loss, F.cross_entropy(logits[:, -1], labels))

    @pytest.mark.parametrize(
        ("mask", "last"),
        [([[1, 1, 0, 0], [1, 1, 1, 0]], [1, 2]), ([[0, 0, 1, 1], [0, 1, 1, 1]], [3, 3])],
        ids=["padded right", "padded left"],
    )
    def test_a_padded_sequence_is_judged_by_its_last_real_token(self, mask, last):
        logits, labels = random_logits(2, 4, 3), torch.tensor([0, 2])
        inputs = {"logits": logits, "labels": labels, "attention_mask": torch.tensor(mask)}
        expected = F.cross_entropy(logits[torch.arange(2), torch.tensor(last)], labels)
        torch.testing.assert_close(ClassificationLoss().compute_loss(inputs), expected)

    def test_a_label_for_each_token_means_token_classification(self):
        logits, labels = random_logits(2, 4, 3), torch.randint(0, 3, (2, 4))
        mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
        strategy = ClassificationLoss()
        whole = strategy.compute_terms({"logits": logits, "labels": labels, "pad_token_id": 0})
        masked = strategy.compute_terms(
            {"logits": logits, "labels": labels, "attention_mask": mask}
        )
        assert whole.num_items.item() == 8  # class 0 is a class, not padding
        assert masked.num_items.item() == 5
        torch.testing.assert_close(
            masked.loss, F.cross_entropy(logits[mask == 1], labels[mask == 1])
        )

    @pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
    def test_labels_of_any_integer_type_are_taken(self, dtype):
        logits, labels = random_logits(4, 2), torch.tensor([0, 1, 1, 0])
        loss = ClassificationLoss().compute_loss({"logits": logits, "labels": labels.to(dtype)})
        torch.testing.assert_close(loss, F.cross_entropy(logits, labels))

    def test_weights_that_are_all_0_give_a_finite_0(self):
        inputs = {"logits": random_logits(2, 3), "labels": torch.tensor([0, 1])}
        terms = ClassificationLoss().compute_terms({**inputs, "class_weights": torch.zeros(3)})
        assert (terms.loss.item(), terms.num_items.item()) == (0, 0)


class TestVisionLoss:
    @given(batch=sizes, classes=st.integers(2, 5), height=sizes, width=sizes)
    @settings(max_examples=25)
    def test_counts_pixels_that_are_not_ignored(self, batch, classes, height, width):
        logits = random_logits(batch, classes, height, width)
        labels = torch.randint(0, classes, (batch, height, width))
        labels[:, 0, 0] = -100
        weights = torch.rand(classes, dtype=torch.float64) + 0.1
        channels_last = logits.movedim(1, -1)
        for given_weights in (None, weights):
            inputs = {"logits": logits, "labels": labels, "class_weights": given_weights}
            terms = VisionLoss().compute_terms(inputs)
            expected, items = cross_entropy_by_hand(
                channels_last, labels, labels != -100, given_weights
            )
            torch.testing.assert_close(terms.loss, expected)
            assert terms.num_items.item() == pytest.approx(float(items))
            assert terms.num_correct.item() == (logits.argmax(1) == labels).sum()
            assert terms.num_predictions.item() == (labels != -100).sum()

    def test_images_are_classified_like_samples(self):
        inputs = {"logits": random_logits(4, 3), "labels": torch.tensor([0, 1, 2, 0])}
        expected = ClassificationLoss().compute_loss(inputs)
        torch.testing.assert_close(VisionLoss().compute_loss(inputs), expected)


@pytest.mark.parametrize("task_type", BUILT_IN)
def test_a_batch_with_nothing_to_learn_from_gives_0_with_a_graph(task_type):
    shapes = {"language_modeling": (2, 4, 5), "causal_lm": (2, 4, 5), "segmentation": (2, 5, 3, 3)}
    shape = shapes.get(task_type, (2, 5))
    logits = random_logits(*shape)
    labels_shape = shape[:2] if len(shape) == 3 else shape[:1] + shape[2:]
    labels = torch.full(labels_shape, -100)
    terms = loss_terms(get_loss_strategy(task_type), {"logits": logits, "labels": labels})
    assert terms.loss.item() == 0
    assert terms.num_items.item() == 0
    terms.loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_nan_logits_are_not_hidden():
    logits = torch.full((2, 3), torch.nan, requires_grad=True)
    inputs = {"logits": logits, "labels": torch.tensor([0, 1])}
    assert ClassificationLoss().compute_loss(inputs).isnan()


class TestRefusals:
    def refused(self, strategy, inputs):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is what is tested
            strategy.compute_loss(inputs)
        return str(error.value)

    def test_a_missing_input_is_named_beside_what_was_given(self):
        message = self.refused(ClassificationLoss(), {"logits": torch.zeros(1, 2)})
        assert "'labels'" in message
        assert "logits (Tensor)" in message

    def test_an_unknown_input_is_offered_the_nearest_name(self):
        message = self.refused(ClassificationLoss(), language_inputs(atention_mask=None))
        assert "Did you mean: attention_mask?" in message

    @pytest.mark.parametrize(
        ("strategy", "logits", "labels", "more"),
        [
            (LanguageModelingLoss(), (2, 3, 4), (2, 4), {}),
            (LanguageModelingLoss(), (2, 4), (2, 3), {}),
            (LanguageModelingLoss(), (2, 3, 4), (2, 3), {"attention_mask": torch.ones(3, 2)}),
            (ClassificationLoss(), (2, 4), (3,), {}),
            (ClassificationLoss(), (2, 4), (2, 1), {}),
            (ClassificationLoss(), (2, 3, 4), (2,), {"attention_mask": torch.ones(3, 2)}),
            (ClassificationLoss(), (2, 4), (2,), {"class_weights": torch.ones(3)}),
            (VisionLoss(), (2, 4, 3, 3), (2, 3, 2), {}),
            (VisionLoss(), (2, 4, 3), (2, 3), {}),
        ],
    )
    def test_shapes_that_do_not_fit_are_both_named(self, strategy, logits, labels, more):
        inputs = {
            "logits": torch.zeros(logits),
            "labels": torch.ones(labels, dtype=torch.long),
            **more,
        }
        message = self.refused(strategy, inputs)
        shapes = [logits, logits[:2], labels, *(tuple(value.shape) for value in more.values())]
        assert sum(str(list(shape)) in message for shape in set(shapes)) >= 2

    def test_labels_must_be_whole_numbers_of_known_classes(self):
        logits = torch.zeros(2, 3)
        fractions = self.refused(ClassificationLoss(), {"logits": logits, "labels": torch.zeros(2)})
        outside = self.refused(
            ClassificationLoss(), {"logits": logits, "labels": torch.tensor([0, 3])}
        )
        assert ".long()" in fractions
        assert "0 to 2" in outside


class TestAnyStrategy:
    class Plain:
        def compute_loss(self, inputs):
            return F.cross_entropy(inputs["logits"], inputs["labels"])

    def test_one_without_terms_weighs_samples_and_is_measured(self):
        logits = torch.eye(3, requires_grad=True)
        inputs = {"logits": logits, "labels": torch.tensor([0, 1, 1])}
        terms = loss_terms(self.Plain(), inputs)
        assert isinstance(terms, LossTerms)
        numbers = (terms.num_items, terms.num_correct, terms.num_predictions)
        assert [number.item() for number in numbers] == [3, 2, 3]
        torch.testing.assert_close(terms.loss, self.Plain().compute_loss(inputs))

    def test_without_shapes_that_speak_it_has_no_accuracy(self):
        class Regression:
            def compute_loss(self, inputs):
                return F.mse_loss(inputs["logits"], inputs["labels"])

        terms = loss_terms(Regression(), {"logits": torch.zeros(4, 2), "labels": torch.zeros(4, 2)})
        assert (terms.num_items.item(), terms.num_predictions.item()) == (4, 0)

    @pytest.mark.parametrize("returned", [3.0, torch.zeros(2)])
    def test_one_that_returns_no_scalar_is_refused(self, returned):
        class Wrong:
            def compute_loss(self, inputs):
                return returned

        with pytest.raises(ValueError, match=r"Wrong.compute_loss returned .*; return the mean"):
            loss_terms(Wrong(), {})


class TestRegistry:
    @pytest.fixture(autouse=True)
    def own_registry(self, monkeypatch):
        copy = dict(LossStrategyRegistry._strategies)
        monkeypatch.setattr(LossStrategyRegistry, "_strategies", copy)

    def test_lists_built_in_names_first_and_custom_ones_after(self):
        LossStrategyRegistry.register("a_custom_one")(TestAnyStrategy.Plain)
        assert LossStrategyRegistry.list_available() == [*BUILT_IN, "a_custom_one"]
        assert isinstance(get_loss_strategy("a_custom_one"), TestAnyStrategy.Plain)

    def test_a_taken_name_needs_overwrite(self):
        with pytest.raises(ValueError, match="already has ClassificationLoss"):
            LossStrategyRegistry.register("classification")(TestAnyStrategy.Plain)
        LossStrategyRegistry.register("classification", overwrite=True)(TestAnyStrategy.Plain)
        assert isinstance(get_loss_strategy("classification"), TestAnyStrategy.Plain)

    def test_a_class_that_computes_no_loss_is_refused(self):
        with pytest.raises(ValueError, match="no compute_loss"):
            LossStrategyRegistry.register("nothing")(dict)

    def test_a_typo_gets_the_nearest_name(self):
        with pytest.raises(UnknownNameError, match=r"Did you mean: segmentation\?"):
            get_loss_strategy("segmentaton")


class TestPEFTAwareLoss:
    def model(self, *trainable):
        layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        for place, layer in enumerate(layers):
            layer.requires_grad_(place in trainable)
        return layers

    def test_delegates_loss_and_terms(self, caplog):
        inputs = language_inputs()
        base = LanguageModelingLoss()
        wrapped = PEFTAwareLoss(base, self.model(1))
        assert torch.equal(wrapped.compute_loss(inputs), base.compute_loss(inputs))
        assert torch.equal(
            wrapped.compute_terms(inputs).num_items, base.compute_terms(inputs).num_items
        )
        assert not caplog.records

    def test_refuses_a_model_that_is_all_frozen(self):
        with pytest.raises(ValueError, match="None of the model's 26 parameters is trainable"):
            PEFTAwareLoss(LanguageModelingLoss(), self.model())

    def test_warns_once_of_a_model_that_is_all_trainable(self, caplog):
        wrapped = PEFTAwareLoss(LanguageModelingLoss(), self.model(0, 1))
        for _ in range(3):
            wrapped.compute_loss(language_inputs())
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_trains_only_the_adapters_of_a_peft_model(self):
        peft = pytest.importorskip("peft")
        base = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 3)})
        base.forward = lambda x: base["head"](base["body"](x))
        config = peft.LoraConfig(target_modules=["body"], r=2, init_lora_weights=False)
        model = peft.get_peft_model(base, config)
        strategy = PEFTAwareLoss(ClassificationLoss(), model)
        inputs = {"logits": model(torch.randn(5, 4)), "labels": torch.randint(0, 3, (5,))}
        strategy.compute_loss(inputs).backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None}
        assert moved
        assert all("lora_" in name for name in moved)


class TestQuantizationSafeLoss:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_logits_reach_the_base_strategy_as_float32(self, dtype):
        seen = []

        class Base:
            def compute_loss(self, inputs):
                seen.append(inputs["logits"].dtype)
                return inputs["logits"].sum()

        logits = torch.ones(2, 2, dtype=dtype, requires_grad=True)
        inputs = {"logits": logits, "labels": torch.tensor([0, 1])}
        wrapped = QuantizationSafeLoss(Base())
        wrapped.compute_loss(inputs).backward()
        loss_terms(wrapped, inputs)
        assert seen == [torch.float32] * 2
        assert logits.grad.dtype == dtype
        assert inputs["logits"] is logits

    def test_whole_numbers_are_measured_with_one_warning(self, caplog):
        wrapped = QuantizationSafeLoss(ClassificationLoss())
        labels = torch.tensor([0, 1])
        for dtype in (torch.int8, torch.uint8):
            logits = torch.tensor([[9, 1], [1, 9]], dtype=dtype)
            assert wrapped.compute_loss({"logits": logits, "labels": labels}).item() < 0.01
        assert len(caplog.records) == 1

    @pytest.mark.filterwarnings("ignore:.*quant:UserWarning")
    @pytest.mark.filterwarnings("ignore:.*quant:DeprecationWarning")
    def test_quantized_tensors_are_dequantized(self):
        logits = torch.tensor([[2.0, -1.0], [-1.0, 2.0]])
        quantized = torch.quantize_per_tensor(logits, 0.5, 0, torch.qint8)
        labels = torch.tensor([0, 1])
        wrapped = QuantizationSafeLoss(ClassificationLoss())
        loss = wrapped.compute_loss({"logits": quantized, "labels": labels})
        torch.testing.assert_close(loss, F.cross_entropy(logits, labels))

    def test_float32_passes_as_it_is(self):
        base = LanguageModelingLoss()
        inputs = language_inputs()
        loss = QuantizationSafeLoss(base).compute_loss(inputs)
        assert torch.equal(loss, base.compute_loss(inputs))
        with pytest.raises(ValueError, match="'logits' and 'labels'"):
            QuantizationSafeLoss(base).compute_loss({})


@given(rows=st.integers(0, 4), classes=st.sampled_from([1, 10, 128, 130, 509, 512, 2048]))
@settings(max_examples=30)
def test_the_chunked_argmax_is_the_argmax(rows, classes):
    few_values = torch.randint(0, 50, (rows, classes)).float()  # with ties
    assert torch.equal(predicted_classes(few_values), few_values.argmax(1))


class TestCountingOverManyClasses:
    @pytest.mark.parametrize("classes", [2, 63, 64, 1000])
    @pytest.mark.parametrize("share_right", [0.0, 0.5, 1.0])
    def test_it_counts_what_argmax_predicts(self, classes, share_right):
        generator = torch.Generator().manual_seed(classes)
        logits = torch.randn(50, classes, generator=generator)
        targets = torch.randint(0, classes, (50,), generator=generator)
        right = int(50 * share_right)
        targets[:right] = logits[:right].argmax(1)
        targets[::7] = -100
        expected = (logits.argmax(1) == targets).sum()
        assert count_correct(logits, targets) == expected

    def test_a_tie_goes_to_the_first_class(self):
        logits = torch.zeros(4, 100)
        assert count_correct(logits, torch.tensor([0, 1, 99, -100])) == 1

    def test_no_rows_are_no_right_ones(self):
        assert count_correct(torch.zeros(0, 100), torch.zeros(0, dtype=torch.long)) == 0
