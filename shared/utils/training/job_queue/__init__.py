"""Jobs in a table, and schedules that put them there."""

from typing import TYPE_CHECKING

from utils.training.job_queue.backoff import Backoff
from utils.training.job_queue.cron_expression import CronExpression
from utils.training.job_queue.errors import (
    IdempotencyConflictError,
    IllegalTransitionError,
    InvalidCronError,
    InvalidJobError,
    InvalidScheduleError,
    StaleClaimError,
    UnknownJobError,
    UnknownScheduleError,
)
from utils.training.job_queue.job import (
    FINISHED,
    HELD,
    Heartbeat,
    Job,
    JobCheckpoint,
    JobEvent,
    JobStatus,
    QueueStatistics,
)
from utils.training.job_queue.schedule import Occurrence, Schedule
from utils.training.lazy import lazily

if TYPE_CHECKING:
    from utils.training.job_queue.claims import fence
    from utils.training.job_queue.manager import JobManager
    from utils.training.job_queue.outbox import Nudge
    from utils.training.job_queue.scheduler import TrainingScheduler

__all__ = [
    "FINISHED",
    "HELD",
    "Backoff",
    "CronExpression",
    "Heartbeat",
    "IdempotencyConflictError",
    "IllegalTransitionError",
    "InvalidCronError",
    "InvalidJobError",
    "InvalidScheduleError",
    "Job",
    "JobCheckpoint",
    "JobEvent",
    "JobManager",
    "JobStatus",
    "Nudge",
    "Occurrence",
    "QueueStatistics",
    "Schedule",
    "StaleClaimError",
    "TrainingScheduler",
    "UnknownJobError",
    "UnknownScheduleError",
    "fence",
]

__getattr__ = lazily(
    __name__,
    {
        "JobManager": "manager",
        "Nudge": "outbox",
        "TrainingScheduler": "scheduler",
        "fence": "claims",
    },
)
