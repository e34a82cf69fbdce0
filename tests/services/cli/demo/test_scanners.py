"""What is sent, and what the labelling team writes."""

import json

import numpy as np
import pytest

from services.cli.demo.jobs import first_job, label_new_scans, retraining_rule
from services.cli.demo.scanners import rescan, rescan_all
from services.cli.demo.stream import DigitStream, whole
from services.trainer.samples import load_sample
from utils.service.digits import read_digits


@pytest.fixture(scope="module")
def old():
    return read_digits()


@pytest.fixture(scope="module")
def new(old):
    return rescan_all(old)


def test_the_splits_are_those_of_the_trainer(old):
    sample = load_sample("digits")
    for part, dataset in (("train", sample.train), ("test", sample.test)):
        assert np.array_equal(dataset.images[:, 0].numpy(), old[part].images.astype(np.float32))
        assert dataset.labels.tolist() == old[part].labels.tolist()


def test_the_new_scanner_swaps_dark_and_light_and_shifts(old, new):
    images = new["test"].images
    assert images.min() >= 0
    assert images.max() <= 1
    expected = 1 - old["test"].images[:, :-1, :-1]
    assert np.abs(images[:, 1:, 1:] - expected).mean() < 0.1
    assert new["test"].labels is old["test"].labels


def test_every_scan_has_noise_of_its_own_and_the_same_one_each_time(old, new):
    assert np.array_equal(rescan(old["train"], seed=0).images, new["train"].images)
    assert not np.array_equal(rescan(old["train"], seed=1).images, new["train"].images)


def test_all_digits_are_dealt_once_before_one_comes_again(old, new):
    stream = DigitStream(old["test"], new["test"], batch_size=27)
    first = np.concatenate([stream.next_batch().labels for _ in range(10)])
    assert sorted(first.tolist()) == sorted(old["test"].labels.tolist())


def test_the_share_of_the_new_scanner_may_change_while_it_is_sent(old, new):
    stream = DigitStream(old["test"], new["test"], batch_size=500)
    assert not stream.next_batch().is_new.any()
    stream.share_new = 0.5
    batch = stream.next_batch()
    assert 0.4 < batch.is_new.mean() < 0.6
    assert batch.images[batch.is_new].mean() > batch.images[~batch.is_new].mean()


def test_the_whole_is_every_scan_in_its_order(old):
    batches = list(whole(old["test"], 100))
    assert [len(batch.labels) for batch in batches] == [100, 100, 70]
    assert np.array_equal(np.concatenate([b.images for b in batches]), old["test"].images)


def test_what_is_learnt_from_and_what_judges_are_different_digits(tmp_path, old, new):
    label_new_scans(tmp_path, old, new)
    job = retraining_rule().job
    rows = {}
    for source in (job.data[1], job.validation, job.held_out):
        lines = (tmp_path / source.location).read_text().splitlines()
        rows[source.location] = [json.loads(line)["pixel_values"] for line in lines]
    train, validation, held_out = rows.values()
    assert (len(train), len(validation), len(held_out)) == (1257, 540, 540)
    assert np.array_equal(np.array(held_out[:270]), old["test"].images)
    assert np.array_equal(np.array(held_out[270:]), new["test"].images)
    seen = {json.dumps(image) for image in train}
    assert not seen & {json.dumps(image) for image in validation + held_out}


def test_the_first_job_and_the_rule_train_the_same_model_with_the_gate_s_defaults():
    first, rule = first_job(), retraining_rule()
    assert rule.job.model == first.model
    assert rule.job.model_name == first.model_name
    assert (rule.windows, rule.windows_to_fire, rule.drift_threshold) == (3, 2, 0.2)
    assert rule.job.gate.margin == first.gate.margin == 0
