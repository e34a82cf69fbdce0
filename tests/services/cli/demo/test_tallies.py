"""Counts over answers."""

import math

from services.cli.demo.client import Answer
from services.cli.demo.tallies import accuracy, by_interval, faults, latencies


def answer(at=0.0, *, milliseconds=5.0, version="1", right=(True,), is_new=None, fault=None):
    kinds = (False,) * len(right) if is_new is None else is_new
    return Answer(at, milliseconds / 1000, version, tuple(right), kinds, fault)


def test_accuracy_counts_digits_by_their_scanner():
    answers = [answer(right=(True, False, True), is_new=(False, True, True))]
    assert accuracy(answers).share == 2 / 3
    assert accuracy(answers, is_new=False).share == 1
    assert accuracy(answers, is_new=True).share == 0.5


def test_accuracy_over_nothing_is_no_number():
    assert math.isnan(accuracy([]).share)
    assert accuracy([answer(fault="It broke.", right=())]).count == 0


def test_latencies_are_of_each_version_and_without_failed_requests():
    answers = [answer(milliseconds=m) for m in range(1, 102)]
    answers += [answer(version="10", milliseconds=7), answer(version="2", milliseconds=9)]
    answers += [answer(version="2", milliseconds=9000, fault="It broke.")]
    first, second, tenth = latencies(answers)
    assert (first.version, first.requests) == ("1", 101)
    assert round(first.p50, 3) == 51
    assert round(first.p99, 3) == 100
    assert (second.version, second.requests, round(second.p99, 3)) == ("2", 1, 9)
    assert tenth.version == "10"


def test_faults_are_the_sentences_of_failed_requests():
    assert faults([answer(), answer(fault="It broke.")]) == ["It broke."]


def test_accuracy_over_time_leaves_out_intervals_without_digits_of_the_kind():
    answers = [
        answer(100.5),
        answer(101.5, right=(False,)),
        answer(104.1, right=(True, True), is_new=(True, False)),
    ]
    assert by_interval(answers, 2) == ([101, 105], [0.5, 1])
    assert by_interval(answers, 2, is_new=True) == ([105], [1])
