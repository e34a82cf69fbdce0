"""Serving follows a real registry: over promotions, broken bundles, outages and restarts."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing

import numpy as np
import pytest

from services.serving.parts import Parts
from services.serving.settings import ServingSettings
from tests.waiting import wait_until
from utils.service.contracts.models import PromotionRequest
from utils.service.embedded.valkey import ValkeyServer
from utils.training.export_utilities.manifest import write_manifest


@pytest.fixture
def settings(registry, tmp_path):
    return ServingSettings(
        tokens_file=registry.folder / "tokens.json",
        registry_url=registry.url,
        token_file=registry.folder / "reader",
        work_folder=tmp_path / "work",
        backend="onnx",
        poll_seconds=0.1,
        retry_seconds=600,
        drain_seconds=30,
    )


@pytest.fixture
def running():
    """Start serving with some settings; it ends with the test."""
    started = []

    def start(settings):
        parts = Parts(settings)
        parts.start()
        started.append(parts)
        return parts

    yield start
    for parts in started:
        parts.close()


@pytest.fixture
def serves():
    """Wait until a registered model answers, alone."""

    def wait(parts, model):
        def is_served():
            current = parts.catalogue.current(model.name)
            return (
                current is not None
                and current.model_id == model.model_id
                and len(parts.catalogue.versions(model.name)) == 1
            )

        wait_until(is_served)

    return wait


def metric(parts, name, **labels):
    return parts.metrics.registry.get_sample_value(name, labels)


def folders(settings):
    return sorted(path.name for path in (settings.work_folder / "versions").iterdir())


def ask(parts, request):
    with parts.catalogue.using("digits") as version:
        return version, parts.backend.answer(version, request)["outputs"][0]["data"]


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_production_version_is_served_and_its_successor_takes_over(
    registry, settings, running, serves, digits_bundles, sample_request
):
    registry.publish(digits_bundles[0], "other", promote=False)
    parts = running(settings)
    wait_until(lambda: _passes(parts.check_sync))
    assert parts.catalogue.names() == []
    first = registry.publish(digits_bundles[0])
    serves(parts, first)
    stopping, answers, faults = threading.Event(), [], []

    def keep_asking():
        while not stopping.is_set():
            try:
                answers.append(ask(parts, sample_request))
            except Exception as error:  # noqa: BLE001 - every kind counts
                faults.append(error)

    threads = [threading.Thread(target=keep_asking, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    second = registry.publish(digits_bundles[1])
    serves(parts, second)
    registry.clients.admin.rollback("digits", "a test")
    serves(parts, first)
    wait_until(lambda: metric(parts, "serving_switch_seconds_count", model_name="digits") == 3)
    assert folders(settings) == [str(first.model_id)]
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert not faults
    assert {version.model_id for version, _ in answers} == {first.model_id, second.model_id}
    for bundle in (0, 1):
        model_id = (first, second)[bundle].model_id
        outputs = [output for version, output in answers if version.model_id == model_id]
        np.testing.assert_allclose(outputs, np.broadcast_to(outputs[0], np.shape(outputs)))
    assert metric(parts, "serving_switches_total", model_name="digits") == 3
    assert metric(parts, "serving_loaded", model_name="digits", model_version="1") == 1
    assert metric(parts, "serving_loaded", model_name="digits", model_version="2") is None
    assert metric(parts, "serving_sync_last_success_timestamp_seconds") > 0
    assert not list((settings.work_folder / "arriving").iterdir())


def _passes(check):
    try:
        check()
    except Exception:  # noqa: BLE001 - any kind is a no
        return False
    return True


def _without_onnx(bundle, tmp_path):
    """A whole bundle whose manifest names no ONNX model."""
    folder = tmp_path / "without-onnx"
    shutil.copytree(bundle, folder)
    (folder / "artifacts" / "model.onnx").unlink()
    write_manifest(folder, {}, {})
    return folder


def _changed_inside(bundle, tmp_path):
    """A bundle that was changed after its manifest was written, and packed by somebody."""
    folder = tmp_path / "changed"
    shutil.copytree(bundle, folder)
    flip_a_byte(folder / "artifacts" / "model.onnx")
    return folder


@pytest.mark.parametrize("damage", [_without_onnx, _changed_inside])
def test_a_broken_bundle_takes_no_traffic_and_the_version_before_goes_on(
    registry, settings, running, serves, digits_bundles, sample_request, tmp_path,
    damage, caplog,
):  # fmt: skip
    parts = running(settings)
    first = registry.publish(digits_bundles[0])
    serves(parts, first)
    broken = registry.publish(damage(digits_bundles[1], tmp_path))
    wait_until(lambda: metric(parts, "serving_sync_failures_total", model_name="digits"))
    before = metric(parts, "serving_sync_last_success_timestamp_seconds")
    wait_until(lambda: metric(parts, "serving_sync_last_success_timestamp_seconds") > before + 0.3)
    assert ask(parts, sample_request)[0].model_id == first.model_id
    assert metric(parts, "serving_sync_failures_total", model_name="digits") == 1
    said = [record for record in caplog.records if "is not served" in record.message]
    assert len(said) == 1
    assert not (settings.work_folder / "versions" / str(broken.model_id)).exists()
    third = registry.publish(digits_bundles[1])
    serves(parts, third)


def test_bytes_that_were_changed_in_the_store_are_not_served_until_they_are_right_again(
    registry, settings, running, serves, digits_bundles, sample_request
):
    first = registry.publish(digits_bundles[0])
    with closing(Parts(settings)) as parts:
        parts.start()
        serves(parts, first)
    second = registry.publish(digits_bundles[1])
    flip_a_byte(registry.stored(second))
    parts = running(settings.model_copy(update={"retry_seconds": 0.2}))
    wait_until(lambda: metric(parts, "serving_sync_failures_total", model_name="digits"))
    assert ask(parts, sample_request)[0].model_id == first.model_id
    flip_a_byte(registry.stored(second))
    serves(parts, second)


def test_the_last_versions_are_served_after_a_restart_without_the_registry(
    registry, settings, running, serves, digits_bundles, sample_request
):
    first = registry.publish(digits_bundles[0])
    with closing(Parts(settings)) as parts:
        parts.start()
        serves(parts, first)
    registry.kill()
    parts = running(settings)
    serves(parts, first)
    wait_until(lambda: _passes(parts.check_sync))
    assert ask(parts, sample_request)[0].model_id == first.model_id
    assert not _passes(parts.optional_checks["registry"])
    registry.start()
    second = registry.publish(digits_bundles[1])
    serves(parts, second)
    assert _passes(parts.optional_checks["registry"])


def test_a_version_that_was_damaged_on_disk_is_fetched_again(
    registry, settings, running, serves, digits_bundles
):
    first = registry.publish(digits_bundles[0])
    with closing(Parts(settings)) as parts:
        parts.start()
        serves(parts, first)
        held = parts.catalogue.current("digits")
    flip_a_byte(held.folder / "artifacts" / "model.onnx")
    (settings.work_folder / "versions" / "999").mkdir()
    parts = running(settings)
    serves(parts, first)
    wait_until(lambda: folders(settings) == [str(first.model_id)])


def test_only_the_names_that_were_asked_for_are_served(
    registry, settings, running, serves, digits_bundles
):
    registry.publish(digits_bundles[0], "others")
    wanted = registry.publish(digits_bundles[0], "digits")
    parts = running(settings.model_copy(update={"model_names": ("digits", "unknown")}))
    serves(parts, wanted)
    assert parts.catalogue.names() == ["digits"]


def test_a_name_without_a_production_version_answers_no_more(
    registry, settings, running, serves, digits_bundles
):
    first = registry.publish(digits_bundles[0])
    parts = running(settings)
    serves(parts, first)
    registry.clients.admin.promote(first.model_id, PromotionRequest(tag="retired", reason="a test"))
    wait_until(lambda: parts.catalogue.names() == [])
    wait_until(lambda: folders(settings) == [])


def test_a_promotion_is_followed_at_once_by_its_nudge_and_by_polling_without(
    registry, settings, running, serves, digits_bundles, valkey, tmp_path
):
    first = registry.publish(digits_bundles[0])
    nudged = running(
        settings.model_copy(update={"redis_url": valkey.url(), "poll_seconds": 10_000})
    )
    away = ValkeyServer(tmp_path / "away")
    polling = running(
        settings.model_copy(update={"redis_url": away.url(), "work_folder": tmp_path / "polling"})
    )
    for parts in (nudged, polling):
        serves(parts, first)
    second = registry.publish(digits_bundles[1])
    for parts in (nudged, polling):
        serves(parts, second)
    assert _passes(nudged.optional_checks["redis"])
    assert not _passes(polling.optional_checks["redis"])
