"""The nudge: a Celery message that says no more than which job to look at.

The jobs table is the truth. A nudge that is lost is made up for, one that comes twice finds nothing
to claim; so Celery keeps no results, retries nothing, and carries JSON only.
"""

from __future__ import annotations

from celery import Celery

QUEUES = ("training", "evaluation", "export")  # a queue for each type of job
TASK = "training_engine.run_job"

_HIGHEST = 9  # of Redis's ten priority lists; the list of 0 is read first


def create_queue(redis_url: str) -> Celery:
    """The Celery app that the scheduler sends with and the trainer listens on."""
    app = Celery("training-engine", broker=redis_url)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUES[0],
        task_default_priority=_HIGHEST // 2,
        task_acks_late=False,  # the table sends again what a dying worker drops
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": "training:",
            "priority_steps": list(range(_HIGHEST + 1)),
            "queue_order_strategy": "priority",
            # A frozen broker would otherwise block a sender for ever.
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
    )
    return app


def send_nudge(app: Celery, job_id: int, job_type: str, priority: int) -> None:
    """Tell the workers of a job's type to look at it; higher ``priority`` is read first."""
    app.send_task(
        TASK,
        kwargs={"job_id": job_id},
        queue=job_type,
        priority=_HIGHEST - min(max(priority, 0), _HIGHEST),
    )


def num_nudges(app: Celery, job_type: str) -> int:
    """How many nudges of a type no worker has taken yet.

    Raises:
        kombu.exceptions.OperationalError: the queue is away.
    """
    with app.connection_or_acquire() as connection, connection.channel() as channel:
        count: int = channel.queue_declare(job_type).message_count
        return count
