"""Every fault that is tried, what must hold, and the tests that prove it.

Most live beside the piece that they break; those of this folder break several pieces at once.
"""

from __future__ import annotations

from dataclasses import dataclass

_SERVICES = "tests/services"
_LIBRARY = "tests/training"


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: what is done to the platform.
        holds: what must be true afterwards.
        tests: node ids; a function stands for all its parameters.
    """

    name: str
    holds: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "SIGKILL of the trainer in mid-epoch",
        "resumed from its checkpoint to the same bytes, one model",
        (
            (
                f"{_SERVICES}/trainer/test_recovery.py::"
                "test_a_killed_workers_job_is_resumed_by_another_to_the_same_model"
            ),
        ),
    ),
    Fault(
        "SIGKILL between trained and registered",
        "the next attempt registers the same bytes, one model",
        ("tests/chaos/test_trainer.py::test_a_kill_after_the_last_step_registers_one_model",),
    ),
    Fault(
        "SIGSTOP for two lease times, SIGCONT",
        "the zombie is refused and stops, one model",
        ("tests/chaos/test_trainer.py::test_a_frozen_trainer_comes_back_as_a_refused_zombie",),
    ),
    Fault(
        "Poison job: it kills its process, or its worker",
        "failed after its attempts, the next job runs",
        ("tests/chaos/test_trainer.py::test_a_poison_job_fails_and_the_next_one_runs",),
    ),
    Fault(
        "Full disk at a checkpoint",
        "older checkpoints whole; the attempt fails clean, the next resumes",
        (
            (
                f"{_LIBRARY}/engine/checkpoint/test_checkpoint_file.py::"
                "test_a_full_disk_is_a_clean_error_and_costs_no_older_checkpoint"
            ),
            (
                f"{_LIBRARY}/engine/checkpoint/test_checkpoint_file.py::"
                "test_a_disk_that_is_really_full"
            ),
            "tests/chaos/test_trainer.py::test_a_trainer_whose_disk_is_full_goes_on_when_it_is_not",
        ),
    ),
    Fault(
        "Newest checkpoint damaged",
        "falls back and says so, the same bytes in the end",
        (
            f"{_LIBRARY}/engine/test_crash.py::test_a_damaged_newest_checkpoint_is_passed_over",
            "tests/chaos/test_trainer.py::test_a_checkpoint_damaged_in_the_store_is_passed_over",
        ),
    ),
    Fault(
        "Redis killed and started empty",
        "no job lost, the one under way undisturbed",
        (
            "tests/chaos/test_databases.py::test_a_redis_that_comes_back_empty_loses_no_job",
            (
                f"{_SERVICES}/monitor/test_replicas.py::"
                "test_an_emptied_redis_is_a_fresh_start_and_said"
            ),
        ),
    ),
    Fault(
        "Postgres restarted during claim, heartbeat, promote",
        "nothing acknowledged is lost, callers see no error",
        ("tests/chaos/test_databases.py::test_a_postgres_that_restarts_is_waited_for",),
    ),
    Fault(
        "Scheduler down over three cron times",
        "each time is made up for once, or as its schedule says",
        ("tests/chaos/test_scheduler.py::test_a_scheduler_that_was_down_makes_up_for_its_times",),
    ),
    Fault(
        "Two schedulers",
        "each nudge, cron time, trigger and lost lease once",
        tuple(
            f"{_SERVICES}/scheduler/test_replicas.py::{name}"
            for name in (
                "test_jobs_of_both_are_each_nudged_once_and_claimed_once",
                "test_each_time_of_a_schedule_is_run_once",
                "test_a_model_that_is_too_old_is_trained_by_one_of_them",
                "test_a_silent_trainer_loses_its_job_once",
            )
        ),
    ),
    Fault(
        "A reply lost after the commit",
        "the call again has the same id and no second effect",
        ("tests/chaos/test_replies.py::test_calls_whose_first_reply_is_lost_take_effect_once",),
    ),
    Fault(
        "Cancel in every state",
        "cancelled, or refused where it is over",
        (
            "tests/chaos/test_scheduler.py::test_a_cancel_is_heard_in_every_state",
            f"{_SERVICES}/trainer/test_recovery.py::test_a_cancelled_job_stops_and_its_run_says_so",
        ),
    ),
    Fault(
        "Four promotions at once",
        "one production version, a whole audit",
        (
            "tests/chaos/test_scheduler.py::test_four_promotions_at_once_leave_one_version",
            (
                f"{_LIBRARY}/test_model_registry_race.py::"
                "test_promotions_at_once_leave_one_production_version_and_a_whole_audit"
            ),
        ),
    ),
    Fault(
        "Trigger storm: 150 reasons in a second",
        "one job",
        ("tests/chaos/test_scheduler.py::test_a_storm_of_reasons_submits_one_job",),
    ),
    Fault(
        "Artifact byte flipped after registering",
        "promotion and load refuse, the old version answers",
        (
            (
                f"{_SERVICES}/registry/test_registry.py::"
                "test_a_bundle_whose_bytes_changed_is_not_promoted"
            ),
            (
                f"{_SERVICES}/serving/test_sync.py::"
                "test_bytes_that_were_changed_in_the_store_are_not_served_until_they_are_right_again"
            ),
        ),
    ),
    Fault(
        "TorchServe killed under load",
        "right answers or 503, then right answers only",
        (
            (
                f"{_SERVICES}/serving/test_app.py::"
                "test_torchserve_killed_under_load_never_answers_wrong"
            ),
            (
                f"{_SERVICES}/serving/test_backends_torchserve.py::"
                "test_a_killed_torchserve_comes_back_with_what_it_held"
            ),
        ),
    ),
    Fault(
        "A broken bundle",
        "never takes traffic, the old version goes on",
        (
            (
                f"{_SERVICES}/serving/test_sync.py::"
                "test_a_broken_bundle_takes_no_traffic_and_the_version_before_goes_on"
            ),
        ),
    ),
    Fault(
        "SIGTERM to everything during training",
        "all gone in 30 s; started again, the same bytes",
        (
            "tests/chaos/test_everything.py::test_everything_that_is_told_to_go_is_gone_in_time",
            (
                f"{_SERVICES}/trainer/test_recovery.py::"
                "test_a_worker_that_must_go_saves_and_gives_back_its_job"
            ),
        ),
    ),
    Fault(
        "500 jobs, 30 kill -9 over all processes",
        "500 done once, none lost, none twice",
        ("tests/chaos/test_everything.py::test_five_hundred_jobs_survive_thirty_kills",),
    ),
)
