"""The calls that users make of fused attention."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from utils.training.flash_attention_wrapper import FlashAttentionWrapper


class Classifier(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)

    def forward(self, input_ids):
        return self.encoder(self.embedding(input_ids))


def test_layers_on_fused_attention_are_counted():
    config = SimpleNamespace(vocab_size=64)
    model = Classifier(config)
    wrapper = FlashAttentionWrapper(model, config)
    assert wrapper.sdpa_available
    assert wrapper.patched_layers == [f"encoder.layers.{place}.self_attn" for place in range(3)]
    assert model(torch.ones(2, 5, dtype=torch.long)).shape == (2, 5, 16)


def test_a_model_without_attention_has_none():
    assert FlashAttentionWrapper(nn.Linear(2, 2), None).patched_layers == []
