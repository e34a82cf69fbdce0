"""Archives, bundles, checkpoints of somebody else: nothing of them runs, nothing stays."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile

import pytest
import torch

from services.serving.sync.verification import BundleError, verify_bundle
from tests.waiting import wait_until
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.packing import PackingError, unpack
from utils.training.engine.checkpoint.file import read_checkpoint, write_checkpoint
from utils.training.export_utilities.archive import archive_members

CLIMBING = ["../evil", "/tmp/evil", "a/../../evil", "a/b/../../../evil"]


def tar_of(*members):
    """A tar of members, each a name with its bytes or a ready entry."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                archive.addfile(entry)
    return buffer.getvalue()


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return name, entry


def huge_header():
    """A tar of half a kilobyte that announces a terabyte."""
    entry = tarfile.TarInfo("a")
    entry.size = 1024**4
    return entry.tobuf(tarfile.PAX_FORMAT) + b"\0" * 1024


def mar():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"handler": "../../evil.py"}}')
        archive.writestr("../../evil.py", "import os; os.system('touch /tmp/evil')")
    return buffer.getvalue()


def zip_bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", b"\0" * 50_000_000)
    return buffer.getvalue()


def gzipped():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a")
        entry.size = 50_000_000
        archive.addfile(entry, io.BytesIO(b"\0" * entry.size))
    return buffer.getvalue()


ARCHIVES = {
    **{f"path {name}": lambda name=name: tar_of((name, b"x")) for name in CLIMBING},
    "a link outwards": lambda: tar_of(special("a", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": lambda: tar_of(special("a", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": lambda: tar_of(special("a", tarfile.CHRTYPE)),
    "a pipe": lambda: tar_of(special("a", tarfile.FIFOTYPE)),
    "a terabyte that is announced": huge_header,
    "more than the limit": lambda: tar_of(("a", b"\0" * 2_000_000)),
    "too many files": lambda: tar_of(*((str(i), b"") for i in range(101))),
    "a .mar": mar,
    "a zip bomb": zip_bomb,
    "a compressed tar": gzipped,
    "no archive": lambda: b"MZ" * 1000,
    "a tar that was cut": lambda: tar_of(("a", b"x" * 5000))[:2000],
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_none_of_ours_leaves_nothing(kind, tmp_path, tried):
    archive, folder = tmp_path / "in" / "archive", tmp_path / "in" / "out"
    archive.parent.mkdir()
    archive.write_bytes(ARCHIVES[kind]())
    with pytest.raises(PackingError) as refused:
        unpack(archive, folder, max_bytes=1_000_000, max_files=100)
    assert str(refused.value).endswith(".")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [archive]
    tried("hostile inputs", "archives")


BUNDLES = {
    "a .mar of somebody else": mar,
    "a zip bomb": zip_bomb,
    "a path outwards": lambda: tar_of(("../../evil", b"x")),
    "a link outwards": lambda: tar_of(special("artifacts", tarfile.SYMTYPE, "/etc")),
    "a terabyte that is announced": huge_header,
    "code without a manifest": lambda: tar_of(("handler.py", b"raise SystemExit('evil')")),
    "a file that is not in the manifest": lambda: tar_of(
        ("MANIFEST.json", b'{"files": {}}'), ("handler.py", b"raise SystemExit('evil')")
    ),
    "a manifest that climbs": lambda: tar_of(
        ("MANIFEST.json", b'{"files": {"../../../secrets/tokens.json": {"sha256": "0"}}}')
    ),
    "a manifest that is no object": lambda: tar_of(("MANIFEST.json", b"[1]")),
}


def test_a_hostile_bundle_is_registered_by_a_trainer_and_never_served(served, tried):
    """The worst case: a stolen trainer's token, and an admin who promotes what it registered."""
    for number, (kind, content) in enumerate(BUNDLES.items()):
        digest = served.put_artifact(content())
        model = served.registry["trainer"].register(
            ModelRegistration(name=f"evil-{number}", bundle_digest=digest, task_type="x")
        )
        served.registry["admin"].promote(
            model.model_id, PromotionRequest(force=True, reason="a test")
        )
        tried("hostile inputs", f"bundles: {kind}")
    log = served.folder / "logs" / "serving.log"
    names = [f"evil-{number}" for number in range(len(BUNDLES))]
    wait_until(lambda: all(f"{name} 1" in log.read_text() for name in names))
    listed = served.send("serving", "GET", "/v1/models", "reader").json()["items"]
    assert {model["name"] for model in listed} == {"digits"}
    left = [p.name for p in (served.folder / "work" / "serving").rglob("*") if "evil" in p.name]
    assert left == []
    assert not list(served.folder.parent.rglob("evil*"))


def test_the_code_of_a_bundle_is_never_the_code_that_serves_it(tmp_path):
    """TorchServe's archive is made of this project's own handler, whatever the bundle brings."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "model.onnx").write_bytes(b"")
    names = ("handler.py", "binary_tensors.py", "preprocessing.py", "runtimes.py", "evil.py")
    for name in names:
        (tmp_path / name).write_text("raise SystemExit('evil')")
    members = archive_members(tmp_path)
    code = [path for name, path in members.items() if name.endswith(".py")]
    assert code
    assert not [path for path in code if path.is_relative_to(tmp_path)]


def test_a_manifest_that_names_files_outside_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    folder = tmp_path / "bundle"
    folder.mkdir()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "MANIFEST.json").write_text(f'{{"files": {{"../outside": {{"sha256": "{empty}"}}}}}}')
    with pytest.raises(BundleError, match="missing"):
        verify_bundle(folder)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["torch.save", "pickle", "old format", "right digest"])
def test_a_pickle_in_a_checkpoint_is_not_run(kind, tmp_path, tried):
    mark, path = tmp_path / "ran", tmp_path / "checkpoint_epoch0001_step00000001.pt"
    if kind == "right digest":
        write_checkpoint(path, {"model_state_dict": Evil(mark)}, {})
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    else:
        evil = {"model_state_dict": {"weight": Evil(mark)}, "epoch": 1}
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "torch.save")
    with pytest.raises(Exception) as refused:  # noqa: PT011 - whichever, it is refused
        read_checkpoint(path)
    assert str(refused.value)
    assert not mark.exists()
    tried("hostile inputs", f"checkpoints: {kind}")
