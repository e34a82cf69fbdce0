"""Fused attention: switched where it is proven, taken back where it isn't, never an error."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch writes it

from utils.training.flash_attention_wrapper import FlashAttentionWrapper

CONFIG = SimpleNamespace(vocab_size=20)


@pytest.fixture(autouse=True)
def quiet_and_logged(caplog):
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    caplog.set_level(logging.INFO, logger="utils.training.flash_attention_wrapper")


def gpt2(implementation="eager", **more):
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, **more
    )
    config._attn_implementation = implementation
    return transformers.GPT2LMHeadModel(config)


def bert():
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
    )
    config._attn_implementation = "eager"
    return transformers.BertForSequenceClassification(config)


def vit():
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=32,
        patch_size=8,
    )
    config._attn_implementation = "eager"
    return transformers.ViTForImageClassification(config)


class OwnModel(nn.Module):
    """Attention with and without anybody who wants the weights."""

    def __init__(self, wants_weights="never"):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.wants_weights = wants_weights

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        mixed, weights = self.attention(hidden, hidden, hidden)
        if self.wants_weights == "always" or (self.wants_weights == "training" and self.training):
            mixed = mixed * weights.mean()
        return self.norm(self.block(mixed).transpose(1, 2))


class HandWritten(nn.Module):
    def __init__(self, *, fused):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = FusedAttention() if fused else EagerAttention()

    def forward(self, tokens):
        return self.attention(self.embedding(tokens))


class EagerAttention(nn.Module):
    def forward(self, hidden):
        return (hidden @ hidden.transpose(1, 2)).softmax(-1) @ hidden


class FusedAttention(nn.Module):
    def forward(self, hidden):
        heads = hidden[:, None]  # the fused kernels want [batch, heads, seq, dim]
        return F.scaled_dot_product_attention(heads, heads, heads)[:, 0]


@pytest.mark.parametrize(
    ("make_model", "layers"),
    [
        (gpt2, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (bert, ["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"]),
        (vit, ["vit.layers.0.attention", "vit.layers.1.attention"]),
    ],
)
def test_hugging_face_models_are_switched_with_equal_outputs(make_model, layers, caplog):
    model = make_model().eval()
    name = model.main_input_name
    size = (2, 3, 32, 32) if name == "pixel_values" else (2, 7)
    inputs = torch.randn(size) if name == "pixel_values" else torch.randint(50, size)
    before = model(inputs).logits
    wrapper = FlashAttentionWrapper(model)
    assert wrapper.sdpa_available
    assert wrapper.patched_layers == layers
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(model(inputs).logits, before, rtol=1e-4, atol=1e-5)
    assert "2 of 2 layers run on SDPA" in caplog.text


def test_a_model_on_sdpa_already_is_reported_as_such():
    assert len(FlashAttentionWrapper(gpt2("sdpa")).patched_layers) == 2


def test_a_model_that_is_to_return_attentions_stays_eager():
    model = gpt2(output_attentions=True)
    assert FlashAttentionWrapper(model).patched_layers == []
    assert model.config._attn_implementation == "eager"


def test_a_model_without_an_sdpa_variant_stays_eager(monkeypatch, caplog):
    model = gpt2()

    def refuse(implementation):
        raise ValueError("no such attention")

    monkeypatch.setattr(model, "set_attn_implementation", refuse)
    monkeypatch.setattr(model.transformer, "set_attn_implementation", refuse)
    assert FlashAttentionWrapper(model).patched_layers == []
    assert "no such attention" in caplog.text


def test_a_switch_whose_outputs_differ_is_taken_back(monkeypatch, caplog):
    model = gpt2()
    switch = model.set_attn_implementation

    def switch_and_spoil(implementation):
        switch(implementation)
        sign = -1 if implementation == "sdpa" else 1
        model.lm_head.register_forward_hook(lambda _m, _i, output: output * sign)

    monkeypatch.setattr(model, "set_attn_implementation", switch_and_spoil)
    assert FlashAttentionWrapper(model).patched_layers == []
    assert model.config._attn_implementation == "eager"
    assert "Left attention as it was" in caplog.text


def test_multihead_attention_no_longer_computes_weights_that_nobody_wants():
    model = OwnModel().eval()
    tokens = torch.randint(20, (2, 5))
    before = model(tokens)
    wrapper = FlashAttentionWrapper(model, CONFIG)
    assert wrapper.patched_layers == ["attention", "block.self_attn"]
    torch.testing.assert_close(model(tokens), before)
    hidden = torch.randn(2, 5, 8)
    assert model.attention(hidden, hidden, hidden)[1] is None
    assert model.attention(hidden, hidden, hidden, need_weights=True)[1] is not None
    assert model.attention(hidden, hidden, hidden, None, True)[1] is not None


@pytest.mark.parametrize("when", ["always", "training"])
def test_multihead_attention_whose_weights_are_used_is_left_alone(when):
    model = OwnModel(when)
    assert FlashAttentionWrapper(model, CONFIG).patched_layers == ["block.self_attn"]
    hidden = torch.randn(2, 5, 8)
    assert model.attention(hidden, hidden, hidden)[1] is not None
    model(torch.randint(20, (2, 5)))


def test_mode_buffers_random_state_and_state_dict_stay():
    model = OwnModel()
    model.block.eval()
    state = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    FlashAttentionWrapper(model, CONFIG)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [model.training, model.block.training] == [True, False]
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_switched_model_trains_copies_and_saves(tmp_path):
    model = OwnModel()
    FlashAttentionWrapper(model, CONFIG)
    twin = copy.deepcopy(model)
    twin(torch.randint(20, (2, 5))).sum().backward()
    assert twin.attention.in_proj_weight.grad.abs().sum() > 0
    torch.save(model, tmp_path / "model.pt")


def test_hand_written_attention_is_recognised_and_never_rewritten():
    fused, eager = HandWritten(fused=True), HandWritten(fused=False)
    assert FlashAttentionWrapper(fused, CONFIG).patched_layers == ["attention"]
    assert FlashAttentionWrapper(eager, CONFIG).patched_layers == []


def test_given_probe_inputs_are_used():
    layer = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)})
    layer.forward = lambda query: layer["attention"](query, query, query)[0]
    assert FlashAttentionWrapper(layer).patched_layers == []
    wrapper = FlashAttentionWrapper(layer, probe_inputs={"query": torch.randn(3, 2, 4)})
    assert wrapper.patched_layers == ["attention"]


@pytest.mark.parametrize(
    ("model", "config", "said"),
    [
        (nn.Linear(2, 2), None, "no attention layers"),
        (nn.Identity(), None, "no attention layers"),
        (OwnModel(), None, "pass probe_inputs"),
        (OwnModel(), SimpleNamespace(vocab_size=2000), "fails on the probe batch"),
    ],
)
def test_what_can_not_be_switched_is_said_and_stays_usable(model, config, said, caplog):
    assert FlashAttentionWrapper(model, config).patched_layers == []
    assert said in caplog.text
    if isinstance(model, OwnModel):
        model(torch.randint(20, (2, 5)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_switched_too(dtype):
    assert len(FlashAttentionWrapper(OwnModel().to(dtype), CONFIG).patched_layers) == 2


def test_a_model_that_returns_structures_is_compared_through_them():
    class Structured(OwnModel):
        def forward(self, tokens):
            return {"hidden": [super().forward(tokens)], "ids": tokens, "none": None}

    assert len(FlashAttentionWrapper(Structured(), CONFIG).patched_layers) == 2
