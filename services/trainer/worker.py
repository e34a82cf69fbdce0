"""The worker: a Celery consumer whose messages say no more than that there may be work."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from celery import Celery, signals

from services.trainer.alive import Beat, beat_file
from services.trainer.attempt_folder import remove_leftovers
from services.trainer.group.server import is_own
from services.trainer.process import die_with
from services.trainer.settings import TrainerSettings
from services.trainer.supervision import Supervisor
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import RemoteError, UnreachableError
from utils.service.logs import configure_logging, tracing
from utils.service.queue import TASK, create_queue
from utils.training.job_queue import Job

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


def serve(settings: TrainerSettings) -> int:
    """Work until SIGTERM; a job under way is then saved and given back. Return the exit code.

    Celery's warm shutdown waits for the task, and the task ends within the grace, because it hears
    of the shutdown too. Where the worker is killed, the kernel kills the pool's process as well.
    """
    settings.work_folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(settings.work_folder)
    stopping = multiprocessing.get_context("fork").Event()
    app = create_worker(settings, stopping.is_set, stopping.set)

    def tell(**_: Any) -> None:
        stopping.set()

    def configure(**_: Any) -> None:
        configure_logging("trainer", settings.log_level)

    own = os.getpid()

    def bind_to_worker(**_: Any) -> None:
        die_with(own)

    signals.worker_shutting_down.connect(tell)
    signals.worker_process_init.connect(bind_to_worker)
    signals.setup_logging.connect(configure)
    worker = app.Worker(
        pool="prefork",
        concurrency=1,
        queues=list(settings.queues),
        hostname=f"{settings.name}@trainer",
        without_mingle=True,
        without_gossip=True,
        quiet=True,
        beat_file=beat_file(settings.work_folder),
    )
    worker.start()
    return int(worker.exitcode or 0)


def create_worker(
    settings: TrainerSettings, should_stop: Callable[[], bool], stop: Callable[[], None]
) -> Celery:
    """The Celery app with its one task."""
    app = create_queue(settings.redis_url)
    app.conf.worker_hijack_root_logger = False
    app.conf.worker_redirect_stdouts = False
    app.steps["worker"].add(Beat)

    def run_job(job_id: int) -> None:
        """Look at the nudged job, then at whatever else waits."""
        with _stopped_by_sigterm(stop):
            _work(settings, should_stop, job_id)

    app.task(name=TASK, ignore_result=True)(run_job)
    return app


def _work(settings: TrainerSettings, should_stop: Callable[[], bool], job_id: int) -> None:
    """Claim and do jobs until there is none: while this one ran, nudges may have been lost."""
    _await_own_name(settings, should_stop)
    with closing(SchedulerClient(settings.scheduler_url, settings.token_file)) as scheduler:
        supervisor = Supervisor(settings, scheduler, should_stop)
        wanted: int | None = job_id
        while not should_stop():
            job = _claim(scheduler, settings, wanted)
            if job is None and wanted is None:
                return
            wanted = None
            if job is not None:
                _do(supervisor, job)


def _await_own_name(settings: TrainerSettings, should_stop: Callable[[], bool]) -> None:
    """Let a leader claim nothing before its followers could find it."""
    told = False
    while settings.group and not should_stop() and not is_own(settings.address):
        if not told:
            log.warning("%s does not mean this node yet; no job is claimed.", settings.address)
        told = True
        time.sleep(_LOOK_SECONDS)


def _claim(scheduler: SchedulerClient, settings: TrainerSettings, job_id: int | None) -> Job | None:
    try:
        return scheduler.claim(
            settings.name,
            job_types=settings.queues,
            job_id=job_id,
            lease_seconds=settings.lease_seconds,
        )
    except (RemoteError, UnreachableError) as error:
        log.warning("No claim came about; the job will be announced again. %s", error)
        return None


def _do(supervisor: Supervisor, job: Job) -> None:
    with tracing(job.trace_id):
        try:
            supervisor.do(job)
        except (RemoteError, UnreachableError) as error:
            log.warning("Job %d's end was not taken: %s", job.job_id, error)
        except Exception:
            # A worker goes on whatever happens; the job's lease runs out, and it is tried again.
            log.exception("Job %d could not be supervised.", job.job_id)


@contextmanager
def _stopped_by_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Stop in good order where the signal reaches the pool's process itself.

    An init system signals every process of a service, and the pool's would die of it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former or signal.SIG_DFL)
