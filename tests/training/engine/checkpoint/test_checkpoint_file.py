"""The checkpoint file: whole or refused, and never code."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.training.engine.checkpoint import file as checkpoint_file
from utils.training.engine.checkpoint.file import (
    MAX_METADATA_BYTES,
    CorruptCheckpointError,
    is_whole,
    read_checkpoint,
    read_metadata,
    write_checkpoint,
)

STATE = {"weights": torch.arange(2000, dtype=torch.float32).reshape(20, 100), "epoch": 3}
METADATA = {"epoch": 3, "text": "ä" * 50}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint_epoch0003.pt"
    write_checkpoint(path, STATE, METADATA)
    return path


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    write_checkpoint(path, STATE, METADATA)
    return path.read_bytes()


def assert_refused(path):
    with pytest.raises(CorruptCheckpointError, match=str(path)):
        read_checkpoint(path)
    assert not is_whole(path)


def test_what_is_written_is_read_back(path):
    state = read_checkpoint(path)

    assert torch.equal(state["weights"], STATE["weights"])
    assert state["epoch"] == 3
    assert read_metadata(path) == METADATA
    assert is_whole(path)


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"map_location": "cpu"}])
def test_torch_alone_opens_the_file(path, options):
    state = torch.load(path, weights_only=True, **options)

    assert torch.equal(state["weights"], STATE["weights"])


def test_torch_alone_opens_a_file_with_the_longest_metadata(tmp_path):
    path = tmp_path / "long.pt"
    write_checkpoint(path, STATE, {"t": "x" * (MAX_METADATA_BYTES - len('{"t": ""}'))})

    assert torch.load(path, weights_only=True, mmap=True)["epoch"] == 3
    assert len(read_metadata(path)["t"]) > 59_000


def test_loaded_tensors_are_the_callers_own_and_outlive_the_file(path):
    weights = read_checkpoint(path)["weights"]
    weights[0, 0] = 99.0
    assert is_whole(path)
    path.unlink()

    assert weights.sum() == STATE["weights"].sum() + 99.0


@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_found(content, tmp_path, data):
    offset = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.pt"
    damaged = bytearray(content)
    damaged[offset] ^= 1 << bit
    path.write_bytes(damaged)

    assert_refused(path)


def test_a_flipped_byte_anywhere_in_the_trailer_is_found_without_reading_tensors(content, tmp_path):
    path = tmp_path / "flipped.pt"
    trailer_bytes = 200
    for offset in range(len(content) - trailer_bytes, len(content)):
        damaged = bytearray(content)
        damaged[offset] ^= 0xFF
        path.write_bytes(damaged)
        assert_refused(path)
    for offset in range(len(content) - 52, len(content)):  # the footer: lengths, digests, magic
        damaged = bytearray(content)
        damaged[offset] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(CorruptCheckpointError):
            read_metadata(path)


@settings(max_examples=150)
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_found(content, tmp_path, data):
    path = tmp_path / "cut.pt"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])

    assert_refused(path)
    with pytest.raises(CorruptCheckpointError):
        read_metadata(path)


@settings(max_examples=50)
@given(extra=st.binary(min_size=1, max_size=200))
def test_added_bytes_are_found_at_either_end(content, tmp_path, extra):
    path = tmp_path / "grown.pt"
    path.write_bytes(content + extra)
    assert_refused(path)
    path.write_bytes(extra + content)
    assert_refused(path)


def test_a_whole_file_appended_to_another_is_found(content, tmp_path):
    path = tmp_path / "twice.pt"
    path.write_bytes(content + content)

    assert_refused(path)


def test_a_plain_torch_file_has_no_digest_and_is_refused(tmp_path):
    path = tmp_path / "plain.pt"
    torch.save(STATE, path)

    with pytest.raises(CorruptCheckpointError, match="not a checkpoint of this engine"):
        read_checkpoint(path)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_code_in_a_file_with_a_right_digest_is_refused_and_not_run(tmp_path):
    path, marker = tmp_path / "evil.pt", tmp_path / "was-run"
    write_checkpoint(path, {"epoch": Payload(marker)}, {})

    with pytest.raises(CorruptCheckpointError, match="could run code"):
        read_checkpoint(path)
    assert not marker.exists()

    torch.load(path, weights_only=False)  # the payload is a live one
    assert marker.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    path, marker = tmp_path / "evil.pt", tmp_path / "was-run"
    path.write_bytes(pickle.dumps(Payload(marker)))

    assert_refused(path)
    assert not marker.exists()


def test_a_file_that_is_removed_while_it_is_read_is_missing(path, monkeypatch):
    map_file = torch.UntypedStorage.from_file

    def map_too_late(name, *arguments):
        path.unlink()
        return map_file(name, *arguments)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", map_too_late)
    with pytest.raises(FileNotFoundError, match="was removed while it was read"):
        read_checkpoint(path)


def test_a_missing_file_is_no_corruption(tmp_path):
    for read in (read_checkpoint, read_metadata):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "missing.pt")
    assert not is_whole(tmp_path / "missing.pt")


@pytest.mark.parametrize("before", [True, False])
def test_torchs_own_checksum_setting_is_put_back(tmp_path, before):
    setting = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(before)
    try:
        write_checkpoint(tmp_path / "c.pt", STATE, {})
        assert torch.serialization.get_crc32_options() is before
    finally:
        torch.serialization.set_crc32_options(setting)


def test_a_file_that_does_not_read_back_never_gets_its_name(path, monkeypatch):
    before = path.read_bytes()
    pack = checkpoint_file._pack_trailer
    monkeypatch.setattr(
        checkpoint_file,
        "_pack_trailer",
        lambda size, digest, metadata: pack(size, b"0" * 16, metadata),
    )

    with pytest.raises(CorruptCheckpointError):
        write_checkpoint(path, STATE, METADATA)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(path, monkeypatch):
    before = path.read_bytes()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_file, "_pack_trailer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, STATE, METADATA)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


SAVE_BEYOND_THE_LIMIT = """
    import sys
    from pathlib import Path
    import torch
    from utils.training.engine.checkpoint import CheckpointManager

    folder = Path(sys.argv[1])
    good = CheckpointManager(folder).latest()
    model = torch.nn.Linear(1000, 1000)
    optimizer = torch.optim.SGD(model.parameters())
    manager = CheckpointManager(folder)
    for blocking in (True, False):
        try:
            manager.save(model, optimizer, None, 1, {"val_loss": 0.1}, blocking=blocking)
            manager.wait()
        except OSError as error:
            print(type(error).__name__, error.errno)
    assert [path.name for path in folder.iterdir()] == [good.name], list(folder.iterdir())
    assert manager.latest() == good
    assert manager.load()["epoch"] == 0
"""


def save_small(folder):
    from utils.training.engine.checkpoint import CheckpointManager

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    return CheckpointManager(folder).save(model, optimizer, None, 0, {"val_loss": 1.0})


def run_script(script, folder, *, before="", **options):
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    if before:
        command = ["unshare", "--mount", "sh", "-c", f'{before} && exec "$@"', "sh", *command]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_a_full_disk_is_a_clean_error_and_costs_no_older_checkpoint(tmp_path):
    # A limit on file size fails writes as a full disk does.
    save_small(tmp_path)
    limit = 1_000_000

    done = run_script(
        SAVE_BEYOND_THE_LIMIT,
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["OSError 27", "OSError 27"]  # EFBIG


def test_a_disk_that_is_really_full(tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount")
    good, disk = save_small(tmp_path / "good"), tmp_path / "disk"
    disk.mkdir()

    done = run_script(
        SAVE_BEYOND_THE_LIMIT,
        disk,
        before=f"mount -t tmpfs -o size=1m tmpfs {disk} && cp {good} {disk}",
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["OSError 28", "OSError 28"]  # ENOSPC
