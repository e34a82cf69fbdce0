"""docs/engine.md names every field of the configuration, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from utils.training.notifications import NotificationSettings
from utils.training.training_config import TrainingConfig

PAGE = (Path(__file__).parents[2] / "docs" / "engine.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| feature |")[2].partition("\n## ")[0]

# For the record alone: no feature of the engine reads them.
DESCRIPTIVE = {
    *("vocab_size", "d_model", "num_layers", "num_heads", "max_seq_len", "dropout"),
    *("config_version", "notes"),
}


def test_every_field_is_in_the_table_and_every_name_in_it_is_a_field():
    rows = [row.split("|") for row in TABLE.splitlines() if row.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}
    beside = {name for row in rows for name in re.findall(r"`(monitor\w*)`", row[3])}
    assert named | beside == set(TrainingConfig().to_dict()) - DESCRIPTIVE


def test_every_variable_of_alerts_is_named():
    alone = {"timeout_seconds"}  # no variable sets it
    for field in NotificationSettings.__dataclass_fields__.keys() - alone:
        assert f"TRAINING_ALERT_{field.upper()}" in PAGE
