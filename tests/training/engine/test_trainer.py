"""The Trainer: what a config switches on, and what a run leaves behind."""

from __future__ import annotations

import json
import logging
import math
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from utils.training.engine import CheckpointManager, Trainer, TrainingInterrupted
from utils.training.engine.gradient_monitor import GradientInstabilityError
from utils.training.engine.trackers import NullTracker
from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

SPEC = TaskSpec(name="rows", modality="tabular", num_classes=3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(4, 16)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.hidden(x))))


def samples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return [
        {"x": row, "labels": label} for row, label in zip(x, x[:, :3].argmax(dim=1), strict=True)
    ]


def settings(**more):
    return TrainingConfig(
        **{
            "learning_rate": 0.01,
            "batch_size": 8,
            "epochs": 3,
            "random_seed": 3,
            "device": "cpu",
            "progress_bar": False,
            **more,
        }
    )


def train(train_data=None, val_data=None, hooks=None, resume_from=None, **more):
    torch.manual_seed(0)
    model = Net()
    trainer = Trainer(model, None, settings(**more), SPEC, hooks)
    data = samples(64) if train_data is None else train_data
    return model, trainer.train(data, val_data, resume_from)


class Recorder:
    """Writes down every event, and may act on one."""

    def __init__(self, act_on=None, act=None):
        self.events = []
        self.act_on, self.act = act_on, act

    def note(self, *event):
        self.events.append(event)
        if event[: len(self.act_on or ())] == self.act_on:
            self.act()

    def on_training_start(self):
        self.note("training_start")

    def on_epoch_start(self, epoch):
        self.note("epoch_start", epoch)

    def on_batch_end(self, batch_idx, loss):
        self.note("batch_end", batch_idx, loss)

    def on_validation_end(self, metrics):
        self.note("validation_end", metrics)

    def on_epoch_end(self, epoch, metrics):
        self.note("epoch_end", epoch, metrics)

    def on_training_end(self):
        self.note("training_end")


# What a run does


def test_hooks_hear_of_everything_in_order():
    recorder = Recorder()
    _, results = train(samples(16), samples(8), hooks=recorder, epochs=2)
    assert [event[0] for event in recorder.events] == [
        "training_start",
        *["epoch_start", "batch_end", "batch_end", "validation_end", "epoch_end"] * 2,
        "training_end",
    ]
    epoch_end = recorder.events[5]
    assert epoch_end[1] == 0
    assert set(epoch_end[2]) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert recorder.events[4][1] == {k: v for k, v in epoch_end[2].items() if "val" in k}
    losses = [event[2] for event in recorder.events if event[0] == "batch_end"]
    assert results["metrics_summary"]["train_loss"][0] == pytest.approx(sum(losses[:2]) / 2)


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    (first, a), (second, b), (third, _) = train(), train(), train(random_seed=4)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, third.head.weight)
    assert list(a["metrics_summary"]["train_loss"]) == list(b["metrics_summary"]["train_loss"])


def test_it_learns():
    _, results = train(samples(256), samples(64, seed=1), epochs=12, learning_rate=0.03)
    assert results["metrics_summary"]["val_accuracy"].iloc[-1] > 0.9


def test_the_config_is_validated_at_once():
    with pytest.raises(InvalidConfigError, match="2 faults"):
        Trainer(Net(), None, TrainingConfig(learning_rate=-1.0, epochs=0), SPEC)


def test_a_misspelt_monitor_is_refused_before_training():
    with pytest.raises(UnknownNameError, match="Did you mean: val_accuracy"):
        train(monitor="val_acuracy")


def test_without_validation_the_training_loss_decides_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO):
        _, results = train()
    assert results["monitor"] == "train_loss"
    assert "There is no validation data: 'train_loss' stands for 'val_loss'." in caplog.text
    assert math.isnan(results["metrics_summary"]["val_loss"].iloc[0])


def test_max_steps_ends_in_the_middle_of_an_epoch_and_validates():
    recorder = Recorder()
    _, results = train(samples(64), samples(8), hooks=recorder, max_steps=11)
    assert results["global_step"] == 11
    assert [event[1] for event in recorder.events if event[0] == "epoch_end"] == [0, 1]
    assert results["metrics_summary"]["val_loss"].notna().all()


def test_early_stopping_ends_the_run_and_a_resumed_run_stays_ended():
    constant = [{"x": torch.zeros(4), "labels": torch.tensor(0)}] * 8
    options = {"epochs": 50, "early_stopping_patience": 2, "early_stopping_min_delta": 0.5}
    _, results = train(samples(8), constant, **options)
    epochs = len(results["metrics_summary"])
    assert 3 <= epochs < 50
    _, resumed = train(samples(8), constant, resume_from="auto", **options)
    assert len(resumed["metrics_summary"]) == epochs


def test_gradients_that_stay_nan_halt_the_run_and_leave_good_checkpoints(tmp_path):
    bad = [{"x": torch.full((4,), math.nan), "labels": torch.tensor(0)}] * 64
    with pytest.raises(GradientInstabilityError, match="3 consecutive"):
        train(bad)
    assert not list((tmp_path / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize(
    "more",
    [
        {"mixed_precision": "bf16"},
        {"mixed_precision": "fp16"},
        {"optimizer": "adafactor"},
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"lr_schedule": "linear", "warmup_steps": 4},
        {"gradient_clip_norm": None},
        {"deterministic": True},
        {"num_workers": 1},
    ],
    ids=str,
)
def test_every_switch_trains(more):
    _, results = train(samples(64), samples(16), epochs=4, **more)
    losses = results["metrics_summary"]["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    torch.use_deterministic_algorithms(False)


# Data


def test_a_loader_without_a_length_trains_with_max_steps():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from samples(20)

    _, results = train(Stream(), max_steps=7, epochs=100)
    assert results["global_step"] == 7
    _, results = train(DataLoader(Stream(), 4), lr_schedule="constant", epochs=2)
    assert results["global_step"] == 10


def test_a_loader_without_a_length_needs_a_bound_for_its_schedule():
    with pytest.raises(InvalidConfigError, match="set max_steps"):
        train(batch for batch in [samples(4)])


def test_an_iterable_that_is_used_up_is_told():
    batch = {"x": torch.randn(8, 4), "labels": torch.zeros(8, dtype=torch.long)}
    with pytest.raises(ValueError, match="no batch in epoch 1"):
        train(iter([batch, batch]), lr_schedule="constant")


def test_a_loader_whose_batches_are_all_dropped_is_refused():
    with pytest.raises(InvalidConfigError, match="no batch"):
        train(samples(4), drop_last=True)


def test_drift_between_the_data_sets_is_measured_where_asked():
    shifted = [{"x": s["x"] + 3.0, "labels": s["labels"]} for s in samples(400, seed=1)]
    _, results = train(samples(400), shifted, epochs=1, drift_samples=400)
    assert results["metrics_summary"]["drift_status"].iloc[0] == "critical"
    assert results["reference_profile"] is not None
    assert {alert["type"] for alert in results["alerts"]} >= {"drift"}


# Averaged weights


def test_averaged_weights_are_validated_saved_and_left_in_the_model():
    held_out = samples(32, seed=1)
    plain, _ = train(samples(64), held_out, learning_rate=0.05)
    model, results = train(
        samples(64), held_out, ema_decay=0.9, learning_rate=0.05, save_safetensors=True
    )
    assert not torch.equal(model.head.weight, plain.head.weight)
    saved = CheckpointManager("checkpoints").load(results["checkpoint_path"], restore_rng=False)
    averages = saved["custom_state"]["average"]["averages"]
    file = load_file(results["weights_path"])
    assert torch.equal(file["head.weight"], averages["head.weight"])
    if results["best_epoch"] == 2:
        assert torch.equal(model.head.weight, averages["head.weight"])
    model.load_state_dict(file)
    model.eval()
    x = torch.stack([s["x"] for s in held_out])
    labels = torch.stack([s["labels"] for s in held_out])
    loss = nn.functional.cross_entropy(model(x), labels)
    assert loss.item() == pytest.approx(results["best_value"], rel=1e-5)


# Checkpoints


def files(folder="checkpoints"):
    return sorted(path.name for path in Path(folder).glob("*.pt"))


def test_intervals_bests_and_the_last_epoch_are_saved():
    class Worsening:
        """Validation that is best in epoch 1."""

        def __init__(self):
            self.pass_number = -1

        def __iter__(self):
            self.pass_number += 1
            scale = abs(self.pass_number - 1) * 10.0 + 1.0
            wrong = self.pass_number != 1
            x = scale * torch.eye(4)[:3]
            yield {"x": x, "labels": torch.arange(3).roll(int(wrong))}

    _, results = train(
        samples(64), Worsening(), epochs=6, save_interval_epochs=4, learning_rate=0.05
    )
    assert results["best_epoch"] == 1
    assert results["checkpoint_path"].name == "checkpoint_epoch0001.pt"
    assert files() == [
        "checkpoint_epoch0000.pt",
        "checkpoint_epoch0001.pt",
        "checkpoint_epoch0003.pt",
        "checkpoint_epoch0005.pt",
    ]


def test_step_checkpoints_come_beside_epoch_ones():
    found = []

    class Look:
        def on_batch_end(self, batch_idx, loss):
            found.append(files())

    train(hooks=Look(), save_interval_steps=3, async_checkpoints=False, epochs=1)
    assert found[4] == ["checkpoint_epoch0000_step00000003.pt"]
    assert found[7] == ["checkpoint_epoch0000_step00000006.pt"]
    assert files() == ["checkpoint_epoch0000.pt"]


def test_a_checkpoint_holds_the_config_and_loads_safely():
    _, results = train(epochs=1)
    state = torch.load(results["checkpoint_path"], weights_only=True)
    assert TrainingConfig.from_dict(state["custom_state"]["config"]).learning_rate == 0.01
    (listed,) = CheckpointManager("checkpoints").list_checkpoints()
    assert json.loads(listed.config)["epochs"] == 1


def test_a_fresh_run_moves_a_former_runs_checkpoints_aside(caplog):
    train(epochs=3)
    _, results = train(epochs=1)
    assert files() == ["checkpoint_epoch0000.pt"]
    (former,) = Path("checkpoints").glob("former-*")
    assert len(files(former)) == 3
    assert results["checkpoint_path"].parent == Path("checkpoints")
    assert "resume_from='auto' goes on from the newest" in caplog.text


def test_going_back_to_an_older_checkpoint_takes_another_course():
    train(epochs=3)
    _, results = train(epochs=2, resume_from="checkpoints/checkpoint_epoch0000.pt")
    assert list(results["metrics_summary"]["epoch"]) == [0, 1]
    assert files() == ["checkpoint_epoch0000.pt", "checkpoint_epoch0001.pt"]


def test_a_checkpoint_saved_by_hand_gives_weights_and_the_next_epoch():
    model, _ = train(epochs=1)
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in model.parameters() if p.ndim == n]} for n in (2, 1)]
    )
    path = CheckpointManager("by_hand").save(model, optimizer, None, 4, {"val_loss": 1.0})
    recorder = Recorder()
    train(hooks=recorder, epochs=6, resume_from=path)
    assert [event[1] for event in recorder.events if event[0] == "epoch_start"] == [5]


def test_a_missing_checkpoint_is_an_error():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(resume_from="nowhere.pt")


def test_more_epochs_go_on_where_a_finished_run_ended():
    train(epochs=2)
    recorder = Recorder()
    _, results = train(hooks=recorder, epochs=3, resume_from="auto")
    assert [event[1] for event in recorder.events if event[0] == "epoch_start"] == [2]
    assert list(results["metrics_summary"]["epoch"]) == [0, 1, 2]


# Stopping


def test_a_hook_can_stop_the_run_and_the_trainer_can_train_again():
    recorder = Recorder()
    trainer = Trainer(Net(), None, settings(), SPEC, [recorder])
    recorder.act_on = ("batch_end", 4)
    recorder.act = lambda: trainer.request_stop("cancelled")
    with pytest.raises(TrainingInterrupted) as caught:
        trainer.train(samples(64))
    assert caught.value.code == 143
    assert caught.value.reason == "cancelled"
    assert caught.value.checkpoint_path.name == "checkpoint_epoch0000_step00000005.pt"
    recorder.act = lambda: None
    assert trainer.train(samples(64), resume_from="auto")["global_step"] == 24


def test_another_thread_can_stop_the_run():
    trainer = Trainer(Net(), None, settings(epochs=100_000), SPEC)
    timer = threading.Timer(0.3, trainer.request_stop, ["drained"])
    timer.start()
    with pytest.raises(TrainingInterrupted, match="drained"):
        trainer.train(samples(64))
    timer.join()


def test_a_stop_at_an_epochs_end_uses_the_epochs_own_checkpoint():
    trainer = Trainer(Net(), None, settings(), SPEC, [hook := Recorder(("epoch_end", 1))])
    hook.act = trainer.request_stop
    with pytest.raises(TrainingInterrupted) as caught:
        trainer.train(samples(64))
    assert caught.value.checkpoint_path.name == "checkpoint_epoch0001.pt"
    assert caught.value.checkpoint_path.exists()


def test_training_in_a_thread_needs_no_signals():
    outcome = {}
    thread = threading.Thread(target=lambda: outcome.update(train(epochs=1)[1]))
    thread.start()
    thread.join()
    assert outcome["global_step"] == 8


def test_an_error_in_a_hook_keeps_its_type_and_closes_the_run():
    def fail():
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        train(hooks=Recorder(("epoch_end", 0), fail))
    assert "Recorder.on_epoch_end" in caught.value.__notes__[0]


# What it writes


def test_tensorboard_gets_steps_and_epochs(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(
        samples(64),
        samples(8),
        use_tensorboard=True,
        tensorboard_dir=str(tmp_path / "runs"),
        run_name="mine",
        log_interval_steps=4,
    )
    (folder,) = {path.parent for path in (tmp_path / "runs").rglob("events*")}
    events = EventAccumulator(str(folder)).Reload()
    steps = [event.step for event in events.Scalars("train/gradient_norm")]
    assert steps[:3] == [4, 8, 12]
    assert "train/samples_per_second" in events.Tags()["scalars"]


def test_a_profile_is_written_by_one_flag(tmp_path):
    train(profile=True, profile_dir=str(tmp_path / "profiles"), epochs=2)
    (trace,) = (tmp_path / "profiles").iterdir()
    assert "traceEvents" in json.loads(trace.read_text())


def test_the_model_is_left_plain_after_the_run():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Net(), Net()])

        def forward(self, x):
            return self.blocks[0](x) + self.blocks[1](x)

    model = Deep()
    config = settings(activation_checkpointing=True, epochs=1)
    Trainer(model, None, config, SPEC).train(samples(16))
    assert "forward" not in vars(model.blocks[0])


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_plain_one_and_saves_the_same_keys():
    plain, _ = train(epochs=2)
    fast, results = train(epochs=2, compile_mode="default")
    torch.testing.assert_close(fast.head.weight, plain.head.weight, rtol=1e-4, atol=1e-5)
    state = torch.load(results["checkpoint_path"], weights_only=True)
    assert set(state["model_state_dict"]) == set(Net().state_dict())
    assert fast._compiled_call_impl is None


def test_a_bundle_of_the_best_weights_is_exported(tmp_path):
    model, results = train(
        samples(32),
        samples(8),
        epochs=2,
        export_bundle=True,
        export_formats=["pytorch"],
        export_dir=str(tmp_path / "exports"),
        ema_decay=0.9,
    )
    assert results["export_path"].parent == tmp_path / "exports"
    assert (results["export_path"] / "artifacts" / "model.pytorch.pt").exists()
    assert model.training


def test_a_bundle_needs_a_task():
    with pytest.raises(InvalidConfigError, match="without a task_spec"):
        Trainer(Net(), None, settings(export_bundle=True))


def test_attention_of_a_hugging_face_model_is_switched_to_fused_kernels():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=32,
        n_positions=8,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
    )
    model = GPT2LMHeadModel(config)
    ids = torch.randint(1, 32, (4, 8))
    spec = TaskSpec(name="text", vocab_size=32)
    rows = [{"input_ids": row.tolist()} for row in ids]
    Trainer(model, config, settings(epochs=1), spec).train(rows)
    assert model.config._attn_implementation == "sdpa"


class Branching(torch.nn.Module):
    """No graph holds its branch on the data."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x) * (2 if x.sum() > 0 else 1)


def test_a_format_that_cant_hold_the_model_costs_neither_the_training_nor_the_others(
    tmp_path, caplog
):
    spec = TaskSpec(name="rows", modality="tabular", num_classes=3)
    config = settings(
        epochs=1,
        export_bundle=True,
        export_formats=["onnx", "torchscript"],
        export_dir=str(tmp_path / "exports"),
    )
    results = Trainer(Branching(), None, config, spec).train(samples(16))
    held = {path.name for path in (results["export_path"] / "artifacts").iterdir()}
    assert "model.torchscript.pt" in held
    assert "model.onnx" not in held
    assert "The onnx format failed" in caplog.text


class Notebook(NullTracker):
    """A tracker that keeps what it is told of each optimizer step."""

    def __init__(self):
        self.steps = {}

    def log(self, metrics, step=None, epoch=None):
        if epoch is None:
            self.steps[step] = dict(metrics)


def test_a_tracker_of_ones_own_is_told_of_every_interval():
    notebook = Notebook()
    Trainer(Net(), None, settings(log_interval_steps=4), SPEC, trackers=[notebook]).train(
        samples(64)
    )
    assert sorted(notebook.steps) == [4, 8, 12, 16, 20, 24]
    assert all(found["train/gradient_norm"] > 0 for found in notebook.steps.values())
    assert all(0 <= found["train/learning_rate"] <= 0.01 for found in notebook.steps.values())
