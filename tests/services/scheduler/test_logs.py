"""The jobs' logs: bounded, fenced, read from any offset."""

import httpx
import pytest

from services.scheduler.log_files import LogFiles


@pytest.fixture
def held(web, config):
    return web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)


def test_a_reader_goes_on_where_it_stopped(web, held):
    web.trainer.append_log(held.job_id, held.fencing_token, "step 1\n")
    first = web.reader.read_log(held.job_id)
    web.trainer.append_log(held.job_id, held.fencing_token, "Schritt 2, größer\n")
    second = web.reader.read_log(held.job_id, first.next_offset)
    assert first.content == b"step 1\n"
    assert second.content.decode() == "Schritt 2, größer\n"
    assert web.reader.read_log(held.job_id, second.next_offset).content == b""
    assert web.reader.read_log(held.job_id, -9).content == second.content[-9:]


def test_the_log_outlives_the_attempt(web, held):
    web.trainer.append_log(held.job_id, held.fencing_token, "first attempt\n")
    web.trainer.release(held.job_id, held.fencing_token, "The node is drained.")
    again = web.trainer.claim("w2", job_id=held.job_id)
    web.trainer.append_log(again.job_id, again.fencing_token, "second attempt\n")
    assert web.reader.read_log(held.job_id).content == b"first attempt\nsecond attempt\n"


def test_a_log_is_answered_as_plain_text(web, held):
    web.trainer.append_log(held.job_id, held.fencing_token, "<script>alert(1)</script>\n")
    answer = httpx.get(
        f"{web.url}/v1/jobs/{held.job_id}/log", headers={"Authorization": "Bearer reader-token"}
    )
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_chunk_that_is_sent_again_is_there_once(tmp_path):
    logs = LogFiles(tmp_path, 1000)
    assert logs.append(1, "one\n", "key 1") == logs.append(1, "one\n", "key 1") == 4
    assert logs.append(1, "one\n", "key 2") == 8
    assert logs.append(1, "one\n") == 12
    assert logs.read(1, 0) == (b"one\none\none\n", 12)


def test_a_log_ends_at_its_limit_and_says_so(tmp_path):
    logs = LogFiles(tmp_path, 100)
    logs.append(1, "é" * 49 + "\n", "a")
    size = logs.append(1, "€" * 10, "b")
    content, _ = logs.read(1, 0)
    assert content.decode().startswith("é" * 49 + "\n\nThe log has reached 100 bytes")
    assert logs.append(1, "more\n", "c") == size
    assert logs.read(1, 0) == (content, size)
    assert logs.read(2, 0) == (b"", 0)


def test_a_long_log_is_read_in_pieces_of_whole_lines(tmp_path):
    logs = LogFiles(tmp_path, 10_000_000)
    line = "x" * 999 + "\n"
    logs.append(7, line * 600)
    read, offset, pieces = b"", 0, 0
    while True:
        piece, following = logs.read(7, offset)
        if following == offset:
            break
        assert piece.endswith(b"\n")
        read, offset, pieces = read + piece, following, pieces + 1
    assert read.decode() == line * 600
    assert pieces == 3
    assert logs.read(7, 10**9) == (b"", 600_000)
