"""Attention, fused (SDPA) against eager: forward and backward, causal, 8 heads of 64."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch's own documentation writes it

from benchmarks.figures import Figure
from benchmarks.interleaving import interleaved_milliseconds, median_ratio
from utils.training.flash_attention_wrapper import FlashAttentionWrapper

NUM_REPEATS = 9
LENGTHS = (512, 1024)
NUM_HEADS, HEAD_SIZE, VOCAB_SIZE = 8, 64, 512
WIDTH = NUM_HEADS * HEAD_SIZE


def run() -> list[Figure]:
    """Measure on the GPU where there is one, else on one thread of the CPU."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    eager, fused = _model(device), _model(device)
    switched = FlashAttentionWrapper(fused)
    assert len(switched.patched_layers) == 1, "the layer under test runs on SDPA"
    figures = []
    for length in LENGTHS:
        figures.append(_figure(f"attention alone, {length} tokens", _alone(length, device), device))
        calls = _layers(length, eager, fused, device)
        figures.append(_figure(f"GPT-2 layer's attention, {length} tokens", calls, device))
    return figures


def _figure(what: str, calls: dict[str, Callable[[], object]], device: torch.device) -> Figure:
    samples = interleaved_milliseconds(calls, NUM_REPEATS, device)
    return Figure(
        f"{what}, {device.type}",
        median_ratio(samples["fused"], samples["eager"]),
        against=f"eager, {statistics.median(samples['eager']):.1f} ms",
    )


def _alone(length: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Queries, keys and values in, values out: no projections."""
    query, key, value = (
        torch.randn(1, NUM_HEADS, length, HEAD_SIZE, device=device, requires_grad=True)
        for _ in range(3)
    )
    later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)

    def written_out() -> None:
        scores = query @ key.transpose(-2, -1) * HEAD_SIZE**-0.5
        (scores.masked_fill(later, -torch.inf).softmax(-1) @ value).sum().backward()

    def fused() -> None:
        F.scaled_dot_product_attention(query, key, value, is_causal=True).sum().backward()

    return {"eager": written_out, "fused": fused}


def _layers(
    length: int, eager: nn.Module, fused: nn.Module, device: torch.device
) -> dict[str, Callable[[], object]]:
    """A layer's attention with its projections, as Hugging Face calls it."""
    hidden = torch.randn(1, length, WIDTH, device=device)
    mask = torch.full((length, length), torch.finfo(hidden.dtype).min, device=device).triu(1)

    def attend(model: nn.Module, attention_mask: Tensor | None) -> None:
        model.h[0].attn(hidden, attention_mask=attention_mask)[0].sum().backward()

    return {
        "eager": lambda: attend(eager, mask[None, None]),
        "fused": lambda: attend(fused, None),  # without a mask SDPA takes its causal kernel
    }


def _model(device: torch.device) -> nn.Module:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_positions=max(LENGTHS),
        n_embd=WIDTH,
        n_layer=1,
        n_head=NUM_HEADS,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = "eager"  # noqa: SLF001 - what attn_implementation= sets
    return GPT2Model(config).to(device)
