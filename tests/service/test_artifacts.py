"""The artifact store and the packing of folders."""

import hashlib
import io
import os
import tarfile

import pytest

from utils.service import packing
from utils.service.artifacts import ArtifactError, ArtifactStore, UnknownArtifactError
from utils.service.packing import PackingError, pack, unpack

CONTENT = os.urandom(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}"
    return ArtifactStore(url, tmp_path / "staging", max_bytes=4_000_000)


def upload(store, content=CONTENT, digest=DIGEST):
    store.append(digest, store.staged_bytes(digest), [content[store.staged_bytes(digest) :]])
    return store.commit(digest)


def test_a_stored_artifact_reads_back_from_any_byte(store):
    assert not store.has(DIGEST)
    assert upload(store) == len(CONTENT)
    assert store.has(DIGEST)
    assert b"".join(store.read(DIGEST)) == CONTENT
    assert b"".join(store.read(DIGEST, 2_999_990)) == CONTENT[-10:]
    assert store.verify(DIGEST)


def test_an_upload_goes_on_where_it_stopped(store):
    def broken():
        yield CONTENT[:1_000_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.append(DIGEST, 0, broken())
    assert store.staged_bytes(DIGEST) == 1_000_000
    with pytest.raises(ArtifactError, match="1000000 bytes are here"):
        store.append(DIGEST, 0, [CONTENT])
    assert upload(store) == len(CONTENT)
    assert store.staged_bytes(DIGEST) == 0


def test_other_bytes_than_announced_never_enter_the_store(store):
    store.append(DIGEST, 0, [CONTENT[:-1] + b"x"])
    with pytest.raises(ArtifactError, match="send them again"):
        store.commit(DIGEST)
    assert not store.has(DIGEST)
    assert store.staged_bytes(DIGEST) == 0


def test_an_artifact_over_the_limit_is_dropped_while_it_arrives(store):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"0" * 1_000_000

    with pytest.raises(ArtifactError, match="larger than 4000000"):
        store.append(DIGEST, 0, endless())
    assert len(taken) == 5
    assert store.staged_bytes(DIGEST) == 0


def test_a_second_commit_of_the_same_artifact_changes_nothing(store):
    upload(store)
    assert store.commit(DIGEST) == len(CONTENT)
    assert upload(store) == len(CONTENT)
    assert store.verify(DIGEST)


def test_what_is_not_here_is_said(store):
    with pytest.raises(UnknownArtifactError):
        store.read(DIGEST)
    with pytest.raises(UnknownArtifactError):
        store.commit(DIGEST)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "", "0" * 63, "0" * 64 + "\n"])
def test_a_digest_that_is_none_is_refused(store, digest):
    with pytest.raises(ArtifactError, match="is no digest"):
        store.has(digest)


def test_a_flipped_byte_in_the_store_is_found(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"), tmp_path / "staging", max_bytes=4_000_000)
    upload(store)
    path = tmp_path / "store" / DIGEST[:2] / DIGEST
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    assert not store.verify(DIGEST)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "a.json").write_text("{}")
    (folder / "run.py").write_text("print(1)")
    return folder


def test_the_same_content_packs_to_the_same_bytes(folder, tmp_path):
    first = pack(folder, tmp_path / "1.tar")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    assert pack(folder, tmp_path / "2.tar") == first
    (folder / "run.py").write_text("print(2)")
    assert pack(folder, tmp_path / "3.tar") != first


def test_a_packed_folder_unpacks_to_itself(folder, tmp_path):
    pack(folder, tmp_path / "1.tar")
    unpack(tmp_path / "1.tar", tmp_path / "out", max_bytes=1000)
    assert (tmp_path / "out" / "configs" / "a.json").read_text() == "{}"
    assert pack(tmp_path / "out", tmp_path / "2.tar") == pack(folder, tmp_path / "1.tar")


def test_links_to_files_are_packed_as_the_files(folder, tmp_path):
    whole = pack(folder, tmp_path / "1.tar")
    page = folder / "configs" / "a.json"
    page.rename(tmp_path / "kept.json")
    page.symlink_to(tmp_path / "kept.json")
    assert pack(folder, tmp_path / "2.tar") == whole
    os.link(tmp_path / "kept.json", folder / "configs" / "b.json")
    os.link(tmp_path / "kept.json", folder / "configs" / "c.json")
    pack(folder, tmp_path / "3.tar")
    unpack(tmp_path / "3.tar", tmp_path / "out", max_bytes=1000)
    assert (tmp_path / "out" / "configs" / "c.json").read_text() == "{}"


@pytest.mark.parametrize("target", ["configs", "nothing"])
def test_a_link_to_no_file_is_not_packed(folder, tmp_path, target):
    (folder / "link").symlink_to(folder / target)
    with pytest.raises(PackingError, match="link is a link to no file"):
        pack(folder, tmp_path / "1.tar")


def test_what_is_no_file_is_not_packed(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    with pytest.raises(PackingError, match="'pipe', which is no plain file"):
        pack(folder, tmp_path / "1.tar")


def test_more_files_than_are_unpacked_are_not_packed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_FILES", 2)
    with pytest.raises(PackingError, match="more than 2 files"):
        pack(folder, tmp_path / "1.tar")


def hostile(tmp_path, name, kind=tarfile.REGTYPE, size=0, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    with tarfile.open(tmp_path / "hostile.tar", "w") as archive:
        archive.addfile(member, io.BytesIO(b"0" * size))
    return tmp_path / "hostile.tar"


@pytest.mark.parametrize(
    ("name", "kind", "size", "link", "reason"),
    [
        ("../escape", tarfile.REGTYPE, 1, "", "leads out"),
        ("/etc/escape", tarfile.REGTYPE, 1, "", "leads out"),
        ("link", tarfile.SYMTYPE, 0, "/etc/passwd", "no plain file"),
        ("hard", tarfile.LNKTYPE, 0, "run.py", "no plain file"),
        ("pipe", tarfile.FIFOTYPE, 0, "", "no plain file"),
        ("large", tarfile.REGTYPE, 2000, "", "more than 1000 bytes"),
    ],
)
def test_a_hostile_archive_is_refused_before_anything_is_written(
    tmp_path, name, kind, size, link, reason
):
    archive = hostile(tmp_path, name, kind, size, link)
    with pytest.raises(PackingError, match=reason):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_archive_are_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(CONTENT[:2000])
    with pytest.raises(PackingError, match="can't be unpacked"):
        unpack(tmp_path / "x.tar", tmp_path / "out", max_bytes=1000)
