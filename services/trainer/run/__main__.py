"""Do one job: ``python -m services.trainer.run ORDER.json``, in the job's own folder.

Exit code 0: the outcome is written, be it good or bad. 143: stopped on request, the state is saved.
1: another rank is lost, and the launcher has a word.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch

from services.trainer.order import OUTCOME, Order, Outcome, write_file
from services.trainer.run.evaluating import run_evaluation
from services.trainer.run.exporting import run_export
from services.trainer.run.failures import is_worth_another_try, sentence_of
from services.trainer.run.job import RunningJob
from services.trainer.run.ranks import end_with_the_others, rank, require_first_on_leader
from services.trainer.run.resources import require_gpus
from services.trainer.run.training import follow_training, run_training
from utils.service.contracts.jobs import EvaluationJob, ExportJob, TrainingJob
from utils.service.logs import tracing
from utils.training.engine.distributed import RankFailedError, RankLostError

log = logging.getLogger(__name__)


def main(path: Path) -> None:
    """Do the job, and write its outcome beside the order."""
    order = Order.model_validate_json(path.read_bytes())
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    for ours in ("services", "utils"):
        logging.getLogger(ours).setLevel(logging.INFO)
    torch.set_num_threads(order.threads)
    end_with_the_others(path.parent)
    with tracing(order.trace_id):
        outcome = _outcome(order, path.parent)
        if outcome is not None:
            write_file(path.parent, OUTCOME, outcome)


def _outcome(order: Order, folder: Path) -> Outcome | None:
    """Do the job; None where another rank has the word."""
    try:
        require_first_on_leader(order)
        with RunningJob.of(order, folder) as job:
            result = _do(job)
            return None if rank() else Outcome(outcome="completed", result=result)
    except RankFailedError as error:
        log.warning("%s", error)
        return None
    except RankLostError:
        log.exception("This rank can't go on alone; torchrun starts all ranks again.")
        sys.exit(1)
    except Exception as error:
        log.exception("The job failed.")
        return Outcome(
            outcome="failed", error=sentence_of(error), retryable=is_worth_another_try(error)
        )


def _do(job: RunningJob) -> dict[str, object]:
    config = job.order.config
    if job.order.job_type == "training":
        require_gpus(job.order)
        training = TrainingJob.model_validate(config)
        return follow_training(job, training) if rank() else run_training(job, training)
    if job.order.job_type == "evaluation":
        return run_evaluation(job, EvaluationJob.model_validate(config))
    return run_export(job, ExportJob.model_validate(config))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
