"""How full a service's disks are, told at the scrape."""

import re
import shutil

from prometheus_client import CollectorRegistry, generate_latest

from utils.service.disk import DiskCollector


def shown(folders):
    registry = CollectorRegistry()
    registry.register(DiskCollector(folders))
    return generate_latest(registry).decode()


def test_each_folder_is_told_by_what_is_kept_there(tmp_path):
    text = shown({"logs": tmp_path, "staging": tmp_path})
    for volume in ("logs", "staging"):
        size = re.search(rf'training_disk_size_bytes{{volume="{volume}"}} (\S+)', text)
        free = re.search(rf'training_disk_free_bytes{{volume="{volume}"}} (\S+)', text)
        assert 0 <= float(free[1]) <= float(size[1]) == shutil.disk_usage(tmp_path).total


def test_a_folder_that_is_not_there_is_left_out(tmp_path, caplog):
    text = shown({"logs": tmp_path, "staging": tmp_path / "missing"})
    assert 'volume="logs"' in text
    assert 'volume="staging"' not in text
    assert "The disk of the staging can't be measured" in caplog.text
