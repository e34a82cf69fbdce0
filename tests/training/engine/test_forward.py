"""The forward pass: which parts of a batch reach the model, and which the loss."""

from __future__ import annotations

from collections import UserDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.training.engine.forward import BatchError, ForwardPass, plan_call
from utils.training.task_spec import TaskSpec

IDS = torch.tensor([[1, 2, 3], [4, 5, 0]])
LABELS = torch.tensor([0, 1])


class Spy(nn.Module):
    """Remembers its arguments and returns two logits a row."""

    def answer(self, **arguments):
        self.arguments = {k: v for k, v in arguments.items() if v is not None}
        rows = len(next(iter(self.arguments.values())))
        return torch.zeros(rows, 2)


class Strict(Spy):
    def forward(self, input_ids, attention_mask=None):
        return self.answer(input_ids=input_ids, attention_mask=attention_mask)


class TakesLabels(Spy):
    def forward(self, input_ids, labels=None):
        return self.answer(input_ids=input_ids, labels=labels)


class TakesAll(Spy):
    def forward(self, **everything):
        return self.answer(**everything)


class OneInput(Spy):
    def forward(self, x, attention_mask=None):
        return self.answer(x=x, attention_mask=attention_mask)


class TwoInputs(Spy):
    def forward(self, left, right):
        return self.answer(left=left, right=right)


def batch(**more):
    return {"input_ids": IDS, "labels": LABELS, **more}


def test_the_model_gets_the_keys_it_accepts_and_no_others():
    model = Strict()
    inputs = ForwardPass(model)(batch(attention_mask=IDS > 0, index=LABELS))
    assert set(model.arguments) == {"input_ids", "attention_mask"}
    assert set(inputs) == {"logits", "labels", "attention_mask"}
    assert inputs["labels"] is LABELS


def test_labels_never_reach_the_model():
    model = TakesLabels()
    ForwardPass(model)(batch())
    assert set(model.arguments) == {"input_ids"}


def test_a_model_of_keyword_arguments_gets_all_but_the_labels():
    model = TakesAll()
    ForwardPass(model)(batch(attention_mask=IDS > 0, index=LABELS))
    assert set(model.arguments) == {"input_ids", "attention_mask", "index"}


def test_the_main_input_goes_where_no_name_fits():
    model = OneInput()
    ForwardPass(model)(batch(attention_mask=IDS > 0))
    assert model.arguments["x"] is IDS
    assert "attention_mask" in model.arguments


def test_any_tensor_key_may_be_the_main_input():
    model = nn.Linear(3, 2)
    inputs = ForwardPass(model)({"features": torch.ones(2, 3), "labels": LABELS})
    assert inputs["logits"].shape == (2, 2)


def test_a_tuple_is_inputs_and_labels():
    model = TwoInputs()
    inputs = ForwardPass(model)((IDS, IDS + 1, LABELS))
    assert torch.equal(model.arguments["right"], IDS + 1)
    assert inputs["labels"] is LABELS


def test_a_tuple_may_hold_a_mapping_of_inputs():
    model = Strict()
    inputs = ForwardPass(model)(({"input_ids": IDS, "attention_mask": IDS > 0}, LABELS))
    assert set(model.arguments) == {"input_ids", "attention_mask"}
    assert "attention_mask" in inputs


def test_any_mapping_is_a_batch():
    assert "logits" in ForwardPass(Strict())(UserDict(batch()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: logits,
        lambda logits: (logits, "cache"),
        lambda logits: {"logits": logits},
        lambda logits: SimpleNamespace(logits=logits),
    ],
)
def test_logits_are_found_in_any_output(wrap):
    class Wrapped(nn.Module):
        def forward(self, input_ids):
            return wrap(torch.ones(len(input_ids), 2))

    assert torch.equal(ForwardPass(Wrapped())(batch())["logits"], torch.ones(2, 2))


def test_the_task_tells_what_padding_is():
    spec = TaskSpec(name="t", pad_token_id=7)
    assert ForwardPass(Strict(), spec)(batch())["pad_token_id"] == 7
    assert "pad_token_id" not in ForwardPass(Strict())(batch())


def test_class_weights_travel_to_the_loss():
    weights = torch.ones(2)
    assert ForwardPass(Strict())(batch(class_weights=weights))["class_weights"] is weights


def test_a_batch_with_other_keys_gets_its_own_plan():
    model = Strict()
    forward = ForwardPass(model)
    forward(batch(attention_mask=IDS > 0))
    forward(batch())
    assert set(model.arguments) == {"input_ids"}


def test_wrappers_are_looked_through():
    from peft import LoraConfig, get_peft_model

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Linear(3, 2)

        def forward(self, features):
            return self.query(features)

    wrapped = get_peft_model(Attention(), LoraConfig(r=1, target_modules=["query"]))
    inputs = ForwardPass(wrapped)({"features": torch.ones(2, 3), "index": LABELS, "labels": LABELS})
    assert inputs["logits"].shape == (2, 2)
    assert plan_call(nn.DataParallel(Attention()), ("x", "labels")) == (("features", "x"),)


def test_missing_labels_are_one_sentence():
    with pytest.raises(BatchError, match=r"holds input_ids and no labels; add 'labels'"):
        ForwardPass(Strict())({"input_ids": IDS})


def test_missing_inputs_are_one_sentence():
    with pytest.raises(BatchError, match="needs left, right, and the batch holds a, labels"):
        ForwardPass(TwoInputs())({"a": IDS, "labels": LABELS})


@pytest.mark.parametrize("given", [IDS, [IDS], "text", None])
def test_what_is_no_batch_is_refused(given):
    with pytest.raises(BatchError, match="give a mapping with 'labels'"):
        ForwardPass(Strict())(given)
