"""The measurement of gradients: right for any type, one synchronisation, NaN told from Inf."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from utils.training.engine.gradient_norms import measure_gradients, measure_model


def named(gradients):
    return [f"layer{place}" for place in range(len(gradients))]


def measure(*gradients, **more):
    return measure_gradients(named(gradients), list(gradients), **more)


def test_norms_and_total_are_those_of_torch():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4), torch.randn(5), torch.randn(())]
    measured = measure(*gradients)
    assert measured.norms == pytest.approx([g.norm().item() for g in gradients])
    assert measured.total == pytest.approx(torch.nn.utils.get_total_norm(gradients).item())
    assert (list(measured.faults), list(measured.extras)) == ([], [])


def test_extras_are_read_along():
    measured = measure(torch.ones(3), torch.ones(4), extras=(torch.tensor(7), torch.tensor(0.5)))
    assert measured.extras == [7, 0.5]


def test_dtypes_may_be_mixed():
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float32, torch.float16)
    measured = measure(*[torch.full((4,), 1.5, dtype=dtype) for dtype in kinds])
    assert measured.norms == pytest.approx([3.0] * 5)
    assert measured.total == pytest.approx(3 * math.sqrt(5))


def test_half_precision_neither_overflows_nor_rounds():
    assert measure(torch.full((1000,), 300.0, dtype=torch.float16)).total == pytest.approx(
        300 * math.sqrt(1000)
    )


def test_sparse_gradients_are_measured_after_adding_up_duplicates():
    embedding = nn.Embedding(10, 4, sparse=True)
    embedding(torch.tensor([1, 1, 2])).sum().backward()
    dense = embedding.weight.grad.to_dense()
    measured = measure(embedding.weight.grad, torch.ones(3))
    assert measured.norms[0] == pytest.approx(dense.norm().item())


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ([math.nan, 1.0], ["layer1 (NaN)"]),
        ([math.inf, 1.0], ["layer1 (Inf)"]),
        ([-math.inf, 1.0], ["layer1 (Inf)"]),
        ([math.inf, math.nan], ["layer1 (NaN)", "layer1 (Inf)"]),
    ],
)
def test_nan_and_inf_are_named_by_layer(values, faults):
    measured = measure(torch.ones(2), torch.tensor(values), torch.ones(2))
    assert measured.faults == faults
    assert not math.isfinite(measured.total)
    assert [math.isfinite(norm) for norm in measured.norms] == [True, False, True]


def test_a_finite_gradient_whose_square_overflows_has_a_finite_norm():
    measured = measure(torch.full((4,), 3e19), torch.ones(2))
    assert not measured.faults
    assert measured.norms[0] == pytest.approx(6e19)
    assert measured.total == pytest.approx(6e19)


def test_finite_norms_whose_total_overflows_have_a_finite_total():
    measured = measure(torch.tensor([1.5e19]), torch.tensor([1.5e19]))
    assert not measured.faults
    assert measured.total == pytest.approx(1.5e19 * math.sqrt(2))


def test_no_gradients_measure_0():
    measured = measure(extras=(torch.tensor(4),))
    assert (measured.total, list(measured.norms), list(measured.extras)) == (0.0, [], [4])


def test_a_model_is_measured_where_it_has_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(requires_grad=False)
    model(torch.ones(1, 2)).sum().backward()
    assert measure_model(model).names == ["1", "1.bias"]


def test_scaled_norms_are_those_of_scaled_gradients():
    scaled = measure(torch.tensor([3.0, 4.0]), torch.tensor([12.0])).scaled(0.5)
    assert (list(scaled.norms), scaled.total) == ([2.5, 6.0], 6.5)
