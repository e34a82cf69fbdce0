"""Version 3's call beside version 4's."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.tier3_training_utilities import RENAMED, test_fine_tuning
from utils.training.engine import Trainer
from utils.training.errors import UnknownNameError
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

CONFIG = SimpleNamespace(vocab_size=32, max_seq_len=16)


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(32, 32)

    def forward(self, input_ids):
        return self.table(input_ids)


def make_model():
    torch.manual_seed(0)
    return Bigram()


def make_data(count=24):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 32, (count, 16), generator=generator)
    return [{"input_ids": row, "labels": row} for row in rows]


@pytest.fixture
def quiet():
    return {"progress_bar": False, "learning_rate": 1e-2, "device": "cpu"}


def test_version_3s_call_works_and_warns(tmp_path, quiet, caplog):
    with pytest.warns(DeprecationWarning, match="MIGRATION_GUIDE"):
        results = test_fine_tuning(
            model=make_model(),
            config=CONFIG,
            n_epochs=2,
            batch_size=4,
            use_wandb=False,
            checkpoint_dir=str(tmp_path / "checkpoints"),
            **quiet,
        )
    assert len(results["loss_history"]) == 2
    assert results["val_loss_history"] in ([], [pytest.approx(float("nan"), nan_ok=True)] * 2)
    assert results["checkpoint_path"].exists()
    assert "No train_data was given" in caplog.text


def test_both_versions_train_the_same_weights(tmp_path, quiet):
    old, new = make_model(), make_model()
    with pytest.warns(DeprecationWarning, match="version 3"):
        then = test_fine_tuning(
            old, CONFIG, make_data(), n_epochs=2, checkpoint_dir=str(tmp_path / "old"), **quiet
        )
    task = TaskSpec(name="t", vocab_size=32, max_seq_len=16, pad_token_id=None)
    config = TrainingConfig(epochs=2, checkpoint_dir=str(tmp_path / "new"), **quiet)
    now = Trainer(model=new, config=CONFIG, training_config=config, task_spec=task).train(
        train_data=make_data()
    )
    assert torch.equal(old.table.weight, new.table.weight)
    assert then["final_loss"] == now["final_loss"] == then["loss_history"][-1]


def test_every_old_name_has_a_new_one():
    known = TrainingConfig().to_dict()
    assert set(RENAMED.values()) <= set(known)
    assert not set(RENAMED) & set(known)


def test_a_parameter_that_neither_version_knows_is_refused(quiet):
    with (
        pytest.warns(DeprecationWarning, match="version 3"),
        pytest.raises(UnknownNameError, match="n_epochs"),
    ):
        test_fine_tuning(make_model(), CONFIG, make_data(), n_epoch=2, **quiet)
