"""Data sources: every kind gives the samples of its task, and nothing outside is read."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from pyarrow import csv, parquet

from services.trainer.run.artifacts import ArtifactCache
from services.trainer.run.data import DataReader, as_served
from services.trainer.run.errors import DataError
from services.trainer.run.failures import is_worth_another_try
from services.trainer.run.models import ModelSourceError, build_model
from utils.service.contracts.jobs import DataSource, ModelSource, TrainingJob
from utils.training.errors import InvalidConfigError
from utils.training.task_spec import TaskSpec

ROWS = TaskSpec(name="rows", modality="tabular", num_classes=2, class_names=("no", "yes"))
SCANS = TaskSpec(
    name="scans",
    modality="vision",
    num_classes=2,
    class_names=("dark", "light"),
    image_size=(4, 6),
    image_channels=1,
)
TEXTS = TaskSpec(name="texts", modality="text", vocab_size=300, max_seq_len=16)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def reader(folder, tmp_path):
    # None of these sources is an artifact: there is no registry to ask.
    return DataReader(folder, ArtifactCache(None, tmp_path / "cache", tmp_path / "job", 10**7))


def source(kind, location, **fields):
    return DataSource(kind=kind, location=location, **fields)


TABLE = {"a": [1.0, 2.0, 3.0], "b": [4, 5, 6], "labels": ["no", "yes", "no"]}


def write_table(folder, kind):
    if kind == "jsonl":
        rows = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
        (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        csv.write_csv(pa.table(TABLE), folder / "t.csv")
    elif kind == "parquet":
        parquet.write_table(pa.table(TABLE), folder / "t.parquet")
    else:
        DatasetDict({"train": Dataset.from_dict(TABLE)}).save_to_disk(str(folder / "t.huggingface"))
    return source(kind, f"t.{kind}")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "huggingface"])
def test_rows_of_every_kind_of_file_are_the_same_samples(folder, reader, kind):
    dataset = reader.dataset(write_table(folder, kind), ROWS)
    assert len(dataset) == 3
    assert torch.equal(dataset[1]["features"], torch.tensor([2.0, 5.0]))
    assert [int(dataset[n]["labels"]) for n in range(3)] == [0, 1, 0]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "huggingface"])
def test_a_tabular_task_takes_its_features_names_and_order_from_the_first_table(
    folder, reader, kind
):
    first = write_table(folder, kind)
    (folder / "other.csv").write_text("b,labels,a\n40,yes,10\n")
    job = TrainingJob(
        model_name="m",
        model=ModelSource(entry_point="a:b"),
        data=[first],
        validation=source("csv", "other.csv"),
        task_spec=ROWS.to_dict(),
    )
    data = reader.load(job)
    assert data.task_spec.feature_names == ("a", "b")
    assert data.validation[0]["features"].tolist() == [10, 40]


@pytest.mark.parametrize("packed", [False, True])
def test_images_are_read_as_the_served_model_reads_them(folder, reader, packed):
    for name, level in (("dark", 0), ("light", 255)):
        (folder / "scans" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 12, 3), level, np.uint8)).save(
            folder / "scans" / name / "1.png"
        )
    location = "scans"
    if packed:
        with tarfile.open(folder / "scans.tar", "w") as archive:
            for name in ("dark", "light"):
                archive.add(folder / "scans" / name, name)
        location = "scans.tar"
    dataset = reader.dataset(source("images", location), SCANS)
    assert [tuple(dataset[n]["pixel_values"].shape) for n in range(2)] == [(1, 4, 6)] * 2
    assert [float(dataset[n]["pixel_values"].mean()) for n in range(2)] == [0.0, 1.0]
    assert [int(dataset[n]["labels"]) for n in range(2)] == [0, 1]


def test_bytes_of_images_in_a_table_are_scaled_to_one(folder, reader):
    row = {"pixel_values": [[0, 255, 0, 0, 0, 51]] * 4, "labels": 1}
    (folder / "scans.jsonl").write_text(json.dumps(row) + "\n")
    dataset = reader.dataset(source("jsonl", "scans.jsonl"), SCANS)
    assert dataset[0]["pixel_values"][0, 0].tolist() == pytest.approx([0, 1, 0, 0, 0, 0.2])


def test_texts_without_a_tokenizer_bring_one_up(folder, reader):
    rows = [{"text": f"The loop number {n} ends when it is done."} for n in range(20)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = TrainingJob(
        model_name="texts",
        model=ModelSource(transformers={"model_type": "gpt2"}),
        data=[source("jsonl", "texts.jsonl")],
        task_spec=TEXTS.to_dict(),
    )
    data = reader.load(job)
    assert data.tokenizer.decode(data.train[0]["input_ids"]).startswith("The loop number")
    assert len(data.train) + len(data.validation) == 20
    assert len(data.validation) == 2


def test_several_sources_are_one_and_a_fixed_tenth_is_set_aside(folder, reader):
    write_table(folder, "csv")
    job = TrainingJob(
        model_name="digits",
        model=ModelSource(entry_point="a:b"),
        data=[source("sample", "digits"), source("sample", "digits", part="validation")],
    )
    first, second = reader.load(job), reader.load(job)
    assert len(first.train) + len(first.validation) == 1257 + 270
    assert first.validation.indices == second.validation.indices
    image = first.validation[0]["pixel_values"]  # what is judged is not shifted about
    assert all(torch.equal(first.validation[0]["pixel_values"], image) for _ in range(10))
    assert as_served(first.validation) is not None
    assert first.task_spec.name == "digits"


def test_the_digest_of_a_source_follows_its_content(folder, reader):
    given = write_table(folder, "csv")
    before = reader.digest(given)
    assert before == reader.digest(given)
    (folder / "t.csv").write_text((folder / "t.csv").read_text().replace("yes", "no"))
    assert reader.digest(given) != before
    test = source("sample", "digits", part="test")
    assert reader.digest(test) == reader.digest(test)
    assert reader.digest(test) != reader.digest(source("sample", "digits", part="validation"))


@pytest.mark.parametrize(
    ("given", "spec", "reason"),
    [
        (source("csv", "../secret"), ROWS, "leads out of the data folder"),
        (source("csv", "/etc/passwd"), ROWS, "leads out of the data folder"),
        (source("csv", "link/passwd"), ROWS, "leads out of the data folder"),
        (source("csv", "nothing.csv"), ROWS, "There is no 'nothing.csv'"),
        (source("parquet", "t.csv"), ROWS, "can't be read"),
        (source("csv", "t.csv", label="target"), ROWS, "its columns are a, b, labels"),
        (source("csv", "wrong.csv"), ROWS, "label 'perhaps' in row 1; allowed are no, yes"),
        (source("csv", "empty.csv"), ROWS, "can't be read|no rows"),
        (source("images", "."), SCANS, "holds no images"),
        (source("csv", "t.csv"), TEXTS, "no tokenizer for texts"),
    ],
)
def test_a_source_that_can_not_work_is_refused_with_the_reason(folder, reader, given, spec, reason):
    write_table(folder, "csv")
    (folder / "wrong.csv").write_text("a,labels\n1,no\n2,perhaps\n")
    (folder / "empty.csv").write_text("")
    (folder / "link").symlink_to("/etc")
    with pytest.raises(DataError, match=reason) as caught:
        reader.dataset(given, spec)
    assert not is_worth_another_try(caught.value)


def test_files_without_a_task_are_refused(folder, reader):
    job = TrainingJob(
        model_name="rows", model=ModelSource(entry_point="a:b"), data=[write_table(folder, "csv")]
    )
    with pytest.raises(InvalidConfigError, match="task_spec is missing"):
        reader.load(job)


DIGITS = "services.trainer.samples.digits:build_model"


@pytest.mark.parametrize(
    ("given", "allowed", "reason"),
    [
        ({"entry_point": "os:getcwd"}, [DIGITS], "not on this trainer's list"),
        ({"entry_point": "os:getcwd"}, ["os:getcwd"], "gave a str"),
        ({"entry_point": "no.such:thing"}, ["no.such:thing"], "can't be imported"),
        ({"entry_point": DIGITS, "arguments": {"x": 1}}, [DIGITS], "can't be called"),
        ({"transformers": {"model_type": "gpt2", "auto_map": {}}}, [], "loads foreign code"),
        ({"transformers": {"model_type": "gpt-none"}}, [], "gives no model"),
    ],
)
def test_a_model_that_is_not_allowed_is_refused(given, allowed, reason):
    with pytest.raises(ModelSourceError, match=reason):
        build_model(ModelSource(**given), TEXTS, allowed, 1)


def test_a_transformers_configuration_gives_the_same_weights_for_the_same_seed():
    tiny = {"model_type": "gpt2", "vocab_size": 300, "n_embd": 8, "n_layer": 1, "n_head": 1}
    one, other = (build_model(ModelSource(transformers=tiny), TEXTS, [], 7) for _ in range(2))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
