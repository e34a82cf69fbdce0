"""What a new user gets wrong with the engine: every mistake is answered in one sentence."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch writes it
from torch.utils.data import TensorDataset

from utils.training.config_builder import TrainingConfigBuilder
from utils.training.engine import (
    AlertConfig,
    ClassificationLoss,
    CollatorRegistry,
    DataLoaderFactory,
    GradientAccumulator,
    GradientMonitor,
    LanguageModelingDataCollator,
    LanguageModelingLoss,
    LossStrategyRegistry,
    MetricsEngine,
    PEFTAwareLoss,
    QuantizationSafeLoss,
    Trainer,
    TrainingLoop,
    UniversalDataModule,
    ValidationLoop,
    VisionDataCollator,
    check_gradient_health,
    get_loss_strategy,
)
from utils.training.errors import TrainingError
from utils.training.seed_manager import set_random_seed
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

LOGITS = torch.randn(4, 3)
LABELS = torch.tensor([0, 1, 2, 0])
ROWS = TensorDataset(torch.randn(8, 3), torch.arange(8) % 2)
BATCHES = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))]
TASK = TaskSpec(name="rows", modality="tabular", num_classes=2)
TEXTS = [{"input_ids": [1, 2, 3]}] * 5


def classify(**inputs):
    return ClassificationLoss().compute_loss({"logits": LOGITS, "labels": LABELS} | inputs)


def predict_next(**inputs):
    given = {"logits": torch.randn(2, 4, 3), "labels": torch.ones(2, 4, dtype=torch.int64)}
    return LanguageModelingLoss().compute_loss(given | inputs)


def adam(model):
    return torch.optim.Adam(model.parameters())


def accumulate(**changes):
    model = nn.Linear(3, 1)
    given = {"loss": model(torch.ones(2, 3)).mean(), "model": model} | changes
    return GradientAccumulator(adam(model)).accumulate(**given)


def accumulator(**arguments):
    return GradientAccumulator(**{"optimizer": adam(nn.Linear(2, 2))} | arguments)


def loader(dataset=TEXTS, **arguments):
    return list(DataLoaderFactory().create(dataset, **arguments))


def pictures(*samples, **arguments):
    return VisionDataCollator(TaskSpec.vision_tiny(), **arguments)(samples)


def loop(**changes):
    model = changes.pop("model", nn.Linear(3, 2))
    optimizer = adam(nn.Linear(3, 2) if model is None else model)
    strategy = get_loss_strategy("classification")
    given = {"optimizer": optimizer, "loss_strategy": strategy, "device": "cpu"} | changes
    return TrainingLoop(model, **given)


def engine(**arguments):
    return MetricsEngine(**{"use_wandb": False} | arguments)


def trainer(model=None, config=None, task=TASK, **arguments):
    config = config or TrainingConfig(epochs=1, device="cpu", progress_bar=False)
    return Trainer(model or nn.Linear(3, 2), None, config, task, **arguments)


def register_a_class_without_a_name():
    @LossStrategyRegistry.register
    class Loss:
        def compute_loss(self, inputs):
            return inputs["logits"].sum()


MISTAKES = [
    (lambda: ClassificationLoss().compute_loss(None), "inputs is None, allowed is a dict with"),
    (lambda: ClassificationLoss().compute_loss([LOGITS]), "inputs is a list, allowed is a dict"),
    (lambda: classify(logits=LOGITS.argmax(1)), "logits are torch.int64, allowed are floating"),
    (lambda: classify(class_weights=[1, 2, 3]), "class_weights is a list, allowed is a tensor"),
    (lambda: predict_next(attention_mask=[[1]]), "attention_mask is a list, allowed is a tensor"),
    (lambda: predict_next(pad_token_id="<pad>"), "pad_token_id is '<pad>', allowed is a whole"),
    (lambda: PEFTAwareLoss(None, nn.Linear(1, 1)), "base_strategy is None, allowed is an object"),
    (lambda: PEFTAwareLoss(LanguageModelingLoss(), None), "model is None, allowed is an nn.Module"),
    (lambda: QuantizationSafeLoss(ClassificationLoss), "base_strategy is the class Classification"),
    (lambda: get_loss_strategy(["classification"]), r"Unknown task_type .*mean: classification\?"),
    (register_a_class_without_a_name, r"task_type is the class Loss.*write @LossStrategyRegistry"),
    (lambda: check_gradient_health(None), "model is None, allowed is an nn.Module"),
    (lambda: GradientMonitor().check_gradients([]), "model is a list, allowed is an nn.Module"),
    (lambda: GradientMonitor(max_consecutive_failures=True), "max_consecutive_failures is True"),
    (
        lambda: GradientMonitor().log_gradient_distribution(nn.Linear(1, 1), None),
        "tracker is None, allowed is a MetricsEngine",
    ),
    (lambda: accumulator(monitor="x"), "monitor is 'x'; give a GradientMonitor, or None"),
    (
        lambda: accumulator(accumulation_steps=True),
        "accumulation_steps is True, allowed is a whole",
    ),
    (lambda: accumulator().load_state_dict(None), "state is None, allowed is what state_dict"),
    (lambda: accumulate(model=None), "model is None, allowed is the nn.Module that computed"),
    (lambda: loader("data.csv"), "The dataset is the text 'data.csv'; load what it names first"),
    (lambda: loader(pd.DataFrame({"a": [1]})), r"a DataFrame, .* frame.to_dict\('records'\)"),
    (
        lambda: loader((torch.ones(4, 3), torch.ones(4))),
        "a tuple of inputs and labels side by side",
    ),
    (lambda: loader(shuffle="yes"), "shuffle is 'yes', allowed is True or False"),
    (lambda: loader(config={"batch_size": 3}), "config is a dict, allowed is a DataLoaderConfig"),
    (lambda: loader(collate_fn="mine"), "collate_fn is 'mine', allowed is a function of a list"),
    (
        lambda: loader(task_spec="text"),
        "task_spec is 'text', allowed is a TaskSpec; a name is given",
    ),
    (
        lambda: loader(
            [{"input_ids": [1], "label": "good"}], task_spec=TaskSpec.classification_tiny()
        ),
        "'label' of a sample is the text 'good', allowed are numbers; number the classes",
    ),
    (
        lambda: LanguageModelingDataCollator("gpt2"),
        "tokenizer is 'gpt2', allowed is a tokenizer; lo",
    ),
    (
        lambda: LanguageModelingDataCollator(max_seq_len="9"),
        "max_seq_len is '9', allowed is 1 or more",
    ),
    (lambda: LanguageModelingDataCollator()(None), "samples is None, allowed is a list of samples"),
    (lambda: pictures(("cat.png", 1)), "An image is the path 'cat.png'; open it first"),
    (lambda: pictures((torch.rand(3, 4, 4), "cat")), "'labels' of a sample is the text 'cat'"),
    (lambda: pictures(mean=0.5), "mean is 0.5, allowed is a list with one number a channel"),
    (lambda: pictures(std=[1.0, 1.0, float("nan")]), "std is .*nan.*, allowed are finite numbers"),
    (
        lambda: UniversalDataModule(TEXTS, val_split="0.1"),
        "val_split is '0.1', allowed is a fraction",
    ),
    (lambda: UniversalDataModule(TEXTS, config=3), "config is 3, allowed is a DataLoaderConfig"),
    (lambda: CollatorRegistry().register(5), "name is 5, allowed is a name; write @registry"),
    (lambda: CollatorRegistry().register("mine")(5), "The factory is 5, allowed is a function"),
    (
        lambda: CollatorRegistry().get_collator(TaskSpec.vision_tiny(), "mine"),
        r"Unknown collator 'mine'\. Available: default, text, vision",
    ),
    (
        lambda: engine(gradient_accumulation_steps="4"),
        "gradient_accumulation_steps is '4', allowed",
    ),
    (
        lambda: engine(drift_threshold_warning="low"),
        "drift_threshold_warning is 'low', allowed is a",
    ),
    (lambda: engine(alert_config={}), "alert_config is a dict, allowed is an AlertConfig"),
    (
        lambda: engine(alert_callbacks=print),
        "alert_callbacks is .*, allowed is a list of functions",
    ),
    (
        lambda: engine(alert_callbacks=["mail"]),
        "An alert callback is 'mail', allowed is a function",
    ),
    (lambda: engine(trackers=5), "trackers is 5, allowed is a list of trackers"),
    (lambda: engine(run_id=3), "run_id is 3 without an experiment_db; pass the database"),
    (
        lambda: AlertConfig(accuracy_drop=0.1),
        r"Unknown field of AlertConfig .*mean: accuracy_drop_",
    ),
    (
        lambda: AlertConfig(accuracy_drop_threshold="5%"),
        "accuracy_drop_threshold is '5%', allowed is",
    ),
    (
        lambda: AlertConfig(enable_slack_alerts="no"),
        "enable_slack_alerts is 'no', allowed is True or",
    ),
    (lambda: engine().log_epoch("0", {}), "epoch is '0', allowed is a whole number from 0 up"),
    (lambda: engine().log_epoch(0, 0.5), "train_metrics is 0.5, allowed is a dict such as"),
    (lambda: engine().log_epoch(0, {}, 0.5), "val_metrics is 0.5, allowed is a dict, or None"),
    (
        lambda: engine().log_confidence(np.ones((2, 2))),
        "logits is a ndarray, allowed is a tensor; ma",
    ),
    (lambda: loop(model=None), "model is None, allowed is an nn.Module"),
    (
        lambda: loop(loss_strategy=F.cross_entropy),
        "loss_strategy is a function, allowed is an object",
    ),
    (lambda: loop(metrics_tracker=4), "metrics_tracker is 4, allowed is a MetricsEngine"),
    (
        lambda: loop(gradient_monitor=4),
        "gradient_monitor is 4, allowed is a GradientMonitor, or None",
    ),
    (
        lambda: loop(gradient_accumulator=4),
        "gradient_accumulator is 4, allowed is a GradientAccumul",
    ),
    (lambda: loop(gradient_accumulator=accumulator()), "steps another Adam than the optimizer"),
    (
        lambda: loop(log_interval_steps=0),
        "log_interval_steps is 0, allowed is a whole number from 1",
    ),
    (lambda: loop(device=None), "device is None, allowed is a name such as 'auto' or 'cpu'"),
    (lambda: loop().run_epoch(None, 0), "dataloader is None, allowed is a DataLoader, or another"),
    (lambda: loop().run_epoch(ROWS, 0), r"dataloader is a TensorDataset.*wrap it: DataLoader\("),
    (
        lambda: loop().run_epoch(BATCHES, 0, "cosine"),
        "scheduler is 'cosine', allowed is a torch.opt",
    ),
    (
        lambda: ValidationLoop(nn.Linear(3, 2), ClassificationLoss(), device="cpu").run_epoch(
            [], 2
        ),
        "validation data had no batch in epoch 2",
    ),
    (lambda: Trainer(None, None, TrainingConfig()), "model is None, allowed is an nn.Module"),
    (lambda: trainer(model=nn.Linear), "model is the class Linear, allowed is an nn.Module"),
    (lambda: trainer(config={"epochs": 1}), r"training_config is a dict.*TrainingConfig.from_dict"),
    (
        lambda: trainer(task="classification"),
        "task_spec is 'classification', allowed is a TaskSpec",
    ),
    (
        lambda: trainer(hooks=SimpleNamespace),
        r"hooks is the class SimpleNamespace.*SimpleNamespace\(\)",
    ),
    (lambda: trainer(trackers=5), "trackers is 5, allowed is a list of trackers"),
    (lambda: trainer(trackers=[5]), "A tracker is 5, allowed is an object with log, log_histogram"),
    (
        lambda: trainer().train(None),
        "train_data is None, allowed is a dataset of samples, a DataLo",
    ),
    (lambda: trainer().train(ROWS, 5), "val_data is 5, allowed is a dataset of samples"),
    (
        lambda: trainer().train("train.csv"),
        "The dataset is the text 'train.csv'; load what it names",
    ),
    (
        lambda: trainer().train(ROWS, resume_from=True),
        "resume_from is True, allowed is a path, 'auto'",
    ),
    (
        lambda: TrainingConfig(lerning_rate=1),
        r"Unknown field of TrainingConfig .*mean: learning_rate\?",
    ),
    (lambda: TrainingConfig.from_dict(None), "The config is None, allowed is a dict"),
    (lambda: TrainingConfig.from_dict([1]), "The config is a list, allowed is a dict"),
    (lambda: TrainingConfigBuilder().with_preset(None), "Unknown preset 'None'"),
    (
        lambda: TrainingConfigBuilder().with_export_bundle("onnx").build(),
        "export_formats is 'onnx', al",
    ),
    (lambda: TaskSpec(name="a", vocabsize=3), r"Unknown field of TaskSpec .*mean: vocab_size\?"),
    (lambda: TaskSpec.from_dict(None), "The task is None, allowed is a dict"),
    (
        lambda: set_random_seed(1, deterministic="yes"),
        "deterministic is 'yes', allowed is True or F",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "answer"), MISTAKES, ids=[answer[:30] for _, answer in MISTAKES]
)
def test_a_mistake_is_answered_in_one_sentence(mistake, answer):
    with pytest.raises((TrainingError, TypeError, ValueError), match=answer) as error:
        mistake()
    assert "\n" not in str(error.value).removeprefix("Invalid configuration, 1 fault:\n")


def test_a_missing_config_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"There is no config file .*; give the path that save"
    ):
        TrainingConfig.load(tmp_path / "none.json")
    with pytest.raises(IsADirectoryError, match="is a folder; give the path of a file in it"):
        TrainingConfig().save(tmp_path)


def test_a_field_that_is_set_by_a_misspelt_name_is_a_fault():
    config = TrainingConfig()
    config.lerning_rate = 1e-3
    with pytest.raises(
        ValueError, match=r"Unknown field 'lerning_rate'.*Did you mean: learning_rate"
    ):
        config.validate()


@pytest.mark.parametrize(
    ("model", "batch", "note"),
    [
        (nn.Linear(5, 2), BATCHES[0], r"given 0: float32 \[4, 3\]. Compare shapes and types"),
        (nn.Linear(3, 2), (torch.ones(2, 3).double(), LABELS[:2]), r"Convert the data with .float"),
        (nn.BatchNorm1d(3), (torch.ones(1, 3), LABELS[:1]), "set drop_last=True"),
        (nn.Embedding(5, 3), (torch.tensor([9]), LABELS[:1]), r"int64 \[1\] from 9 to 9. An id is"),
    ],
)
def test_what_a_model_raises_gets_a_note_on_what_it_was_given(model, batch, note):
    step = TrainingLoop(model, adam(nn.Linear(1, 1)), ClassificationLoss(), device="cpu")
    with pytest.raises((RuntimeError, ValueError, IndexError, TypeError)) as error:
        step.run_epoch([batch], 0)
    assert re.search(note, error.value.__notes__[-1])


def test_hooks_without_a_method_are_warned_about(caplog):
    trainer(hooks="wandb")
    assert "hooks is 'wandb' without a method that is ever called: hooks are on_" in caplog.text


def test_a_warm_up_longer_than_the_run_is_warned_about(caplog):
    config = TrainingConfig(epochs=1, device="cpu", progress_bar=False, warmup_steps=50)
    trainer(config=config).train(ROWS)
    assert "warmup_steps is 50 and the run has 2 steps" in caplog.text


def test_a_histogram_of_text_costs_a_warning(caplog):
    engine().log_histogram("names", "abc")
    assert "Metric 'names' is 'abc', not numbers: left out." in caplog.text


@pytest.mark.parametrize(
    ("model", "changes", "part"),
    [
        (nn.Linear(3, 4), {}, "model"),
        (nn.Linear(3, 2), {"optimizer": "sgd"}, "optimizer"),
        (nn.Linear(3, 2), {"weight_decay": 0.0}, "optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_says_which_part_differs(model, changes, part):
    settings = {"epochs": 2, "device": "cpu", "progress_bar": False}
    path = trainer(config=TrainingConfig(**settings)).train(ROWS)["checkpoint_path"]
    other = trainer(model, TrainingConfig(**settings, **changes))
    with pytest.raises(RuntimeError, match=f"The {part} in .* does not fit this run's: ") as error:
        other.train(ROWS, resume_from=path)
    assert str(error.value).endswith("or start afresh without resume_from.")


def test_a_cell_that_is_run_again_replaces_its_own_registration(monkeypatch):
    monkeypatch.setattr(LossStrategyRegistry, "_strategies", dict(LossStrategyRegistry._strategies))
    registry = CollatorRegistry()

    def cell(number):
        @LossStrategyRegistry.register("again")
        class Again:
            made_by = number

            def compute_loss(self, inputs):
                return inputs["logits"].sum()

        @registry.register("again", modality="text")
        def create():
            return lambda samples: number

    cell(1)
    cell(2)
    assert get_loss_strategy("again").made_by == 2
    assert registry.get_collator(collator_name="again")([]) == 2
