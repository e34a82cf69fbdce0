"""What is finished long enough goes, and nothing else."""

import time

from services.scheduler.loops.retention import Retention

A_BLINK_DAYS = 0.05 / 86400


def test_old_finished_jobs_go_with_their_logs(parts, config):
    finished, waiting = (parts.manager.submit_job("training", config) for _ in range(2))
    for job_id in (finished, waiting):
        parts.logs.append(job_id, "a line\n")
    parts.manager.cancel(finished)
    time.sleep(0.1)
    parts.logs.append(waiting, "and another\n")

    assert Retention(parts.manager, parts.logs, keep_days=1).sweep() == 0
    assert parts.logs.read(finished, 0)[0]
    assert Retention(parts.manager, parts.logs, A_BLINK_DAYS).sweep() == 1

    assert parts.manager.get_job(finished) is None
    assert parts.logs.read(finished, 0) == (b"", 0)
    assert parts.manager.get_job(waiting) is not None
    parts.close()
