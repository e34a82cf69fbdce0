"""The calls that users make of losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch writes it

from utils.training.engine import (
    ClassificationLoss,
    LanguageModelingLoss,
    LossInputs,
    LossStrategyRegistry,
    ModelOutput,
    PEFTAwareLoss,
    QuantizationSafeLoss,
    VisionLoss,
    get_loss_strategy,
)


@pytest.fixture
def language_inputs():
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 11, requires_grad=True)
    labels = torch.tensor([[4, 8, 1, 3, 0, 0], [5, 2, 9, 7, 6, 1]])
    return {"logits": logits, "labels": labels, "pad_token_id": 0}


def test_language_modeling_predicts_the_next_token_and_leaves_out_padding(language_inputs):
    strategy = LanguageModelingLoss()
    loss = strategy.compute_loss(language_inputs)
    by_definition = F.cross_entropy(
        language_inputs["logits"][:, :-1].reshape(-1, 11),
        language_inputs["labels"][:, 1:].reshape(-1),
        ignore_index=0,
    )
    torch.testing.assert_close(loss, by_definition)


def last_of_each(logits):
    return logits[:, -1]


def every_token(logits):
    return logits.flatten(0, 1)


@pytest.mark.parametrize(
    ("shape", "num_labels", "judged"),
    [
        ((4, 3), (4,), torch.clone),
        ((4, 5, 3), (4,), last_of_each),
        ((4, 5, 3), (4, 5), every_token),
    ],
)
def test_classification_takes_class_weights(shape, num_labels, judged):
    logits, labels = torch.randn(shape), torch.randint(0, 3, num_labels)
    weights = torch.tensor([1.0, 2.0, 0.5])
    strategy = ClassificationLoss()
    loss = strategy.compute_loss({"logits": logits, "labels": labels, "class_weights": weights})
    by_definition = F.cross_entropy(judged(logits), labels.flatten(), weights)
    torch.testing.assert_close(loss, by_definition)


@pytest.mark.parametrize(("logits", "labels"), [((4, 3), (4,)), ((2, 3, 5, 5), (2, 5, 5))])
def test_vision_takes_images_and_pixels(logits, labels):
    logits, labels = torch.randn(logits), torch.randint(0, 3, labels)
    loss = VisionLoss().compute_loss({"logits": logits, "labels": labels})
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


def test_wrappers_take_a_base_strategy(language_inputs):
    base_strategy = LanguageModelingLoss()
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(requires_grad=False), nn.Linear(2, 2))
    expected = base_strategy.compute_loss(language_inputs)
    assert torch.equal(PEFTAwareLoss(base_strategy, model).compute_loss(language_inputs), expected)
    quantized = QuantizationSafeLoss(base_strategy)
    half = {**language_inputs, "logits": language_inputs["logits"].half()}
    torch.testing.assert_close(quantized.compute_loss(half), expected, rtol=1e-2, atol=1e-2)


def test_the_registry_lists_finds_and_takes_new_strategies(monkeypatch):
    monkeypatch.setattr(LossStrategyRegistry, "_strategies", dict(LossStrategyRegistry._strategies))
    assert LossStrategyRegistry.list_available() == [
        "language_modeling",
        "causal_lm",
        "classification",
        "vision_classification",
        "segmentation",
    ]

    @LossStrategyRegistry.register("ranking")
    class RankingLoss:
        def compute_loss(self, inputs: LossInputs) -> torch.Tensor:
            return F.multi_margin_loss(inputs["logits"], inputs["labels"])

    strategy = get_loss_strategy("ranking")
    inputs = {"logits": torch.randn(3, 4), "labels": torch.tensor([1, 0, 3])}
    assert strategy.compute_loss(inputs) > 0
    assert isinstance(strategy, RankingLoss)


def test_a_typo_is_answered_with_the_name_that_was_meant():
    with pytest.raises(ValueError, match="Unknown task_type 'languag_modeling'") as error:
        get_loss_strategy("languag_modeling")
    assert "Available: " in str(error.value)
    assert "Did you mean: language_modeling?" in str(error.value)


def test_a_training_loop_of_ones_own():
    torch.manual_seed(0)
    loss_strategy = get_loss_strategy("language_modeling")
    model = nn.Sequential(nn.Embedding(8, 16), nn.Linear(16, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 1, 2, 3]])
    losses = []
    for _ in range(30):
        output = ModelOutput.from_raw(model(tokens))
        loss = loss_strategy.compute_loss(
            {"logits": output.logits, "labels": tokens, "pad_token_id": 0}
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
