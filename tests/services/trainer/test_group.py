"""What a leader tells its followers, and what it makes of what they say."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from services.trainer import worker
from services.trainer.group import leading
from services.trainer.group.leading import Leader
from services.trainer.group.server import is_own
from services.trainer.group.words import PATH, Report, Word
from services.trainer.order import Outcome
from services.trainer.ranks import Size
from services.trainer.settings import TrainerSettings
from utils.service.embedded.child import free_port
from utils.service.http import RemoteError, ServiceClient

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
JOB = SimpleNamespace(
    job_id=7, fencing_token=3, attempt=1, job_type="training", config={}, trace_id="0" * 32
)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    return TrainerSettings(
        redis_url="redis://",
        scheduler_url="http://",
        registry_url="http://",
        token_file=tmp_path / "token",
        data_folder=tmp_path,
        work_folder=tmp_path,
        lease_seconds=60,
        group=f"{FIRST},{SECOND},{THIRD}",
        address=FIRST,
        group_port=free_port(),
        group_seconds=0.5,
    )


@pytest.fixture
def say(settings):
    client = ServiceClient(
        f"http://{FIRST}:{settings.group_port}", settings.token_file, patience_seconds=0
    )

    def report(**what):
        body = Report(**what).model_dump(mode="json")
        return Word.model_validate_json(client.call("POST", PATH, body=body).content).assignment

    yield report
    client.close()


@pytest.mark.parametrize(
    ("address", "is_so"),
    [(FIRST, True), ("localhost", True), ("192.0.2.1", False), ("fe80::1%none", False)],
)
def test_a_name_is_a_nodes_own_where_it_can_be_listened_at(address, is_so):
    assert is_own(address) is is_so


def test_a_leader_whose_name_means_another_node_yet_claims_nothing(settings, monkeypatch, caplog):
    meant, claimed = [True, False, False], []
    monkeypatch.setattr(worker, "is_own", lambda _: meant.pop())
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(worker, "_claim", lambda *_: claimed.append(list(meant)))
    worker._work(settings, lambda: False, 7)
    assert claimed == [[], []]  # the nudged job, then any, after three looks
    assert caplog.text.count("does not mean this node yet") == 1


def leader_of(settings, nodes=2):
    return Leader(settings, JOB, Size(ranks=2, nodes=nodes))


def test_the_attempt_is_given_once_all_have_come_and_to_no_others(settings, say, monkeypatch):
    monkeypatch.setattr(leading, "_DISMISSAL_SECONDS", 0)
    with leader_of(settings, nodes=3) as leader:
        assert say(address=SECOND) is None
        assert not leader.is_complete
        assert say(address=THIRD).name == "7-3"
        given = say(address=SECOND)
        assert (given.num_nodes, given.num_ranks) == (3, 2)
        assert say(address="127.0.0.9") is None
        assert leader.fault is None


def test_a_smaller_job_leaves_the_last_nodes_alone(settings, say, monkeypatch):
    monkeypatch.setattr(leading, "_DISMISSAL_SECONDS", 0)
    with leader_of(settings, nodes=2):
        assert say(address=THIRD) is None
        assert say(address=SECOND) is not None


def test_one_that_is_busy_or_leaving_has_not_come(settings, say, monkeypatch):
    monkeypatch.setattr(leading, "_DISMISSAL_SECONDS", 0)
    with leader_of(settings) as leader:
        assert say(address=SECOND, attempt="6-1") is None
        assert say(address=SECOND, is_leaving=True) is None
        assert not leader.is_complete
        time.sleep(0.6)
        assert f"Of the 2 nodes of this trainer, {SECOND} did not come" in leader.fault


def test_a_silent_a_lost_and_a_failed_node_end_the_attempt(settings, say, monkeypatch):
    monkeypatch.setattr(leading, "_DISMISSAL_SECONDS", 0)
    impatient = settings.model_copy(update={"lease_seconds": 1})
    with leader_of(impatient) as leader:
        say(address=SECOND)
        time.sleep(1.1)
        assert f"The node {SECOND} has been silent for 1 s" in leader.fault
    with leader_of(settings) as leader:
        say(address=SECOND)
        say(address=SECOND, attempt="7-3")
        assert leader.fault is None
        assert say(address=SECOND) is None  # another process, which has not begun
        assert leader.fault == f"The node {SECOND} was lost, and has started anew."
    with leader_of(settings) as leader:
        say(address=SECOND)
        say(address=SECOND, attempt="7-3", exit_code=1)
        assert f"The ranks on {SECOND} ended with exit code 1" in leader.fault
    with leader_of(settings) as leader:
        failed = Outcome(outcome="failed", error="Rank 1 can't.", retryable=False)
        say(address=SECOND)
        say(address=SECOND, attempt="7-3", outcome=failed)
        assert leader.fault is None  # the others end by themselves, as a rule
        monkeypatch.setattr(leading, "_LAST_SECONDS", 0)
        assert leader.fault
        assert leader.await_outcome() == failed


def test_a_wrong_token_a_long_body_and_nonsense_are_not_heard(settings, say, tmp_path, monkeypatch):
    monkeypatch.setattr(leading, "_DISMISSAL_SECONDS", 0)
    (tmp_path / "other").write_text("guess")
    url = f"http://{FIRST}:{settings.group_port}"
    with leader_of(settings) as leader:
        for token, body, status in (
            (tmp_path / "other", {"address": SECOND}, 401),
            (settings.token_file, {"address": SECOND, "exit_code": "x"}, 422),
            (settings.token_file, {"address": "a" * 1024 * 1024}, 413),
        ):
            client = ServiceClient(url, token, patience_seconds=0)
            with pytest.raises(RemoteError) as refused:
                client.call("POST", PATH, body=body)
            assert refused.value.status == status
            client.close()
        assert not leader.is_complete


@pytest.mark.parametrize(
    ("group", "address", "reason"),
    [
        ("b,a", "b", "the leader's the first of them"),
        ("a,a", "a", "so give different ones"),
        ("a,b", "c", "'c' is given, allowed is one of a, b"),
        ("a,b", "", "'' is given, allowed is one of a, b"),
    ],
)
def test_a_group_that_can_not_work_is_refused(settings, group, address, reason):
    given = settings.model_dump() | {"group": group, "address": address}
    with pytest.raises(ValueError, match=reason):
        TrainerSettings(**given)
