"""A demonstration succeeds only if all that it claims was true."""

from services.cli.demo.verdict import Verdict


def test_all_claims_true_is_a_success():
    verdict = Verdict(1, print)
    assert verdict.claim("Two and two are four.", holds=True)
    assert verdict.exit_code == 0
    assert verdict.failures == []


def test_one_claim_that_does_not_hold_fails_it_and_is_said_at_once():
    shown = []
    verdict = Verdict(2, shown.append)
    verdict.claim("Two and two are four.", holds=True)
    assert not verdict.claim("No request failed.", holds=False)
    assert shown == ["NOT TRUE: No request failed."]
    assert verdict.failures == ["No request failed."]
    assert verdict.exit_code == 1


def test_a_story_that_was_not_told_to_its_end_fails():
    verdict = Verdict(2, print)
    verdict.claim("Two and two are four.", holds=True)
    assert verdict.exit_code == 1
    assert verdict.failures == ["Only 1 of 2 claims were reached."]
