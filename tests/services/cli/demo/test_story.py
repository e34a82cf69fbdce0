"""One request that failed makes the whole demonstration fail."""

import pytest

from services.cli.demo.client import Answer
from services.cli.demo.story import judge_requests
from services.cli.demo.timeline import Timeline
from services.cli.demo.verdict import Verdict

GOOD = Answer(1000.0, 0.01, "1", (True,), (False,))
BAD = Answer(1001.0, 0.01, None, (), (False,), "The gateway answered 503: busy")


@pytest.fixture
def judged():
    def judge(answers):
        verdict = Verdict(1, lambda _: None)
        judge_requests(answers, Timeline(lambda _: None), verdict)
        return verdict

    return judge


def test_requests_that_were_all_answered_are_a_success(judged):
    assert judged([GOOD] * 1000).exit_code == 0


def test_one_request_in_a_thousand_that_failed_is_a_failure_that_says_why(judged):
    verdict = judged([*[GOOD] * 999, BAD])
    assert verdict.exit_code == 1
    assert verdict.failures == [
        "the client sent 1,000 requests, and 1 failed; the first: The gateway answered 503: busy"
    ]


def test_a_client_that_sent_nothing_proves_nothing(judged):
    assert judged([]).exit_code == 1
