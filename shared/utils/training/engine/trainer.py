"""The Trainer: from data to a trained, validated, saved model, resumable at any moment."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

from torch import nn

from utils.training.arguments import described, require_instance, require_methods
from utils.training.engine.activation_checkpointing import activation_checkpointing
from utils.training.engine.compilation import compiled
from utils.training.engine.data import iterate
from utils.training.engine.distributed import World, join_world
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.hooks import HookCaller, TrainingHooks
from utils.training.engine.interrupt import StopSwitch, TrainingInterrupted
from utils.training.engine.loop import NoBatchError, learning_rate
from utils.training.engine.outputs import EpochResult
from utils.training.engine.profiling import NullProfiler, StepProfiler, profiling
from utils.training.engine.run import Run, create_run, num_batches, of_phase, results_of, resume
from utils.training.engine.trackers import Tracker
from utils.training.errors import InvalidConfigError, WrongTypeError
from utils.training.seed_manager import set_random_seed, untouched_generators
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)

_FROM_DICT = "make it of a dict by TrainingConfig.from_dict"
_A_TRACKER = "an object with log, log_histogram and close"
BATCHES_PER_AGREEMENT = 32  # of validation, between two looks at whether a rank was asked to stop


class Trainer:
    """Trains a model as a :class:`TrainingConfig` says.

    Args:
        model: any module whose ``forward`` returns logits.
        config: the model's own configuration, for flash attention and the export.
        training_config: what to do; it is validated here.
        task_spec: names the loss and the data's form; None is next-token prediction.
        hooks: an object, or a list of them, with any of the methods of :class:`TrainingHooks`.
        trackers: further places to log to, beside those that ``training_config`` names.

    Raises:
        InvalidConfigError: a ValueError that lists every fault of ``training_config``; or a bundle
            is to be exported and there is no ``task_spec``.
        WrongTypeError: a TypeError; an argument is of the wrong kind.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        training_config: TrainingConfig,
        task_spec: TaskSpec | None = None,
        hooks: TrainingHooks | Any | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        require_instance("model", model, nn.Module, "an nn.Module")
        require_instance(
            "training_config", training_config, TrainingConfig, "a TrainingConfig", _FROM_DICT
        )
        require_instance("task_spec", task_spec, (TaskSpec, NoneType), "a TaskSpec, or None")
        require_instance("trackers", trackers, Iterable, "a list of trackers")
        for tracker in trackers:
            require_methods("A tracker", tracker, ["log", "log_histogram", "close"], _A_TRACKER)
        training_config.validate()
        if training_config.export_bundle and task_spec is None:
            raise InvalidConfigError(
                ["export_bundle is True without a task_spec, which tells what the model takes."]
            )
        self.model = model
        self.config = config
        self.training_config = training_config
        self.task_spec = task_spec
        self._hooks = HookCaller(hooks)
        self._trackers = tuple(trackers)
        self._stop = StopSwitch()
        self._profiler: StepProfiler = NullProfiler()

    def request_stop(self, reason: str = "request_stop()") -> None:
        """Ask the run to stop; safe from any thread, and from a hook.

        At the end of the accumulation window (or after the next validation batch) it writes a
        checkpoint, and :meth:`train` raises :class:`TrainingInterrupted`.
        """
        self._stop.request(reason)

    def train(
        self, train_data: Any, val_data: Any | None = None, resume_from: str | Path | None = None
    ) -> dict[str, Any]:
        """Train, validate and save, epoch by epoch.

        A run that was stopped or killed and resumes here ends with the same weights and metrics,
        bit for bit, as one that was never stopped (deterministic mode, same machine and data).

        With validation data, an epoch is judged by it; with weights averaged, validation, the
        best weights and export use the average, and so does the model after the last epoch.
        Otherwise the model holds the last epoch's weights at the end; the best epoch's are in
        ``checkpoint_path``.

        Args:
            train_data: a dataset of samples, or a DataLoader or other iterable of batches.
            val_data: the same of held-out data; None judges epochs by the training loss.
            resume_from: a checkpoint's path; ``"auto"`` takes the newest whole checkpoint in
                ``checkpoint_dir``, and starts afresh where there is none.

        Returns:
            ``metrics_summary`` (a data frame, one row an epoch), ``best_epoch`` (None where the
            monitored metric was never a number), ``final_loss`` (mean training loss of the last
            epoch), ``checkpoint_path`` (of the best epoch), ``training_time`` (seconds over all
            sittings), ``global_step`` (optimizer steps), ``monitor`` and ``best_value`` (the metric
            that decided, and its best), ``alerts``, ``reference_profile`` (of the training data,
            None unless ``drift_samples`` is set), and, where configured, ``weights_path`` and
            ``export_path``.

        Raises:
            TrainingInterrupted: a SystemExit with code 143; SIGTERM or :meth:`request_stop` came,
                and the state is saved.
            RuntimeError: gradients were NaN or Inf too often in a row.
            FileNotFoundError: there is no checkpoint at ``resume_from``.
            ResumeError: a RuntimeError; it was saved with another model or optimizer.
            WrongTypeError: a TypeError; an argument is of the wrong kind.
        """
        _refuse_no_data("train_data", train_data)
        if val_data is not None:
            _refuse_no_data("val_data", val_data)
        paths = str, PathLike, NoneType
        require_instance("resume_from", resume_from, paths, "a path, 'auto' or None")
        world = join_world(self.training_config)
        with world.watching():
            return self._train(world, train_data, val_data, resume_from)

    def _train(
        self, world: World, train_data: Any, val_data: Any, resume_from: str | Path | None
    ) -> dict[str, Any]:
        config = self.training_config
        set_random_seed(config.random_seed, config.deterministic)
        run = create_run(
            self.model,
            self.config,
            config,
            self.task_spec,
            train_data,
            val_data,
            self._trackers,
            world,
            self._stop,
        )
        if not world.is_first:
            self._hooks = HookCaller(None)
            set_random_seed(config.random_seed + world.rank, config.deterministic)
        with self._sitting(run):
            resume(run, resume_from)
            self._hooks.call("on_training_start")
            if run.state.batch == 0:
                run.restore_generators()
            while not run.is_finished:
                self._run_epoch(run)
            run.checkpoints.wait()
            self._hooks.call("on_training_end")
        run.average.copy_to_model()
        return results_of(run, self.config, self.task_spec)

    @contextmanager
    def _sitting(self, run: Run) -> Iterator[None]:
        """Hold what is open while training: signals, patches of the model, files, connections."""
        config = run.config
        with ExitStack() as stack:
            stack.callback(run.checkpoints.close)
            stack.callback(run.metrics.close)
            stack.callback(run.progress.close)
            stack.callback(self._stop.clear)
            stack.enter_context(self._stop.listening())
            stack.enter_context(
                activation_checkpointing(self.model, config.activation_checkpointing)
            )
            stack.enter_context(compiled(self.model, config.compile_mode))
            is_profiled = config.profile and run.world.is_first
            self._profiler = stack.enter_context(profiling(is_profiled, config.profile_dir))
            yield

    def _run_epoch(self, run: Run) -> None:
        """Train, validate, record, judge, save."""
        epoch = run.state.epoch
        self._hooks.call("on_epoch_start", epoch)
        if not run.state.is_epoch_trained:
            self._train_epoch(run)
        run.restore_generators()  # where a run resumes in its validation; else this does nothing
        trained = run.world.add_up(run.sums).result(epoch, learning_rate(run.optimizer))
        if not trained.batch_count:
            raise NoBatchError(epoch)
        validated = self._validate_epoch(run)
        metrics = run.record_epoch(trained, validated)
        if validated is not None:
            self._hooks.call("on_validation_end", of_phase(metrics, "val"))
        self._hooks.call("on_epoch_end", epoch, metrics)
        path = run.finish_epoch(trained, metrics)
        self._agree(run)
        if self._stop.is_agreed:
            self._interrupt(run, path)

    def _train_epoch(self, run: Run) -> None:
        """Train on what is left of the epoch."""
        state = run.state
        batches = run.open_epoch()
        run.progress.start_epoch(state.epoch, num_batches(run.train_loader) or 0)
        wants_losses = self._hooks.has("on_batch_end")
        steps = run.training_loop.steps(batches, run.sums, run.scheduler, state.batch)
        with closing(steps):
            for step in steps:
                if wants_losses:
                    self._hooks.call("on_batch_end", step.batch_index, step.read_loss())
                if not step.closes_window:
                    continue
                state.batch = step.batch_index + 1
                if step.is_optimizer_step:
                    self._after_optimizer_step(run)
                if self._stop.is_agreed:
                    self._interrupt(run)
                if run.is_at_last_step:
                    break
        state.is_epoch_trained = True

    def _after_optimizer_step(self, run: Run) -> None:
        run.average.update()
        self._profiler.step()
        step, config = run.global_step, run.config
        if step % config.log_interval_steps == 0:
            run.progress.update(
                run.state.batch, run.training_loop.interval_loss, run.sums.sample_count
            )
        if config.save_interval_steps and step % config.save_interval_steps == 0:
            run.save_step(blocking=not config.async_checkpoints)

    def _validate_epoch(self, run: Run) -> EpochResult | None:
        """Measure the (averaged) weights; the generators stay as training left them."""
        if run.val_loader is None:
            return None
        epoch, sums = run.state.epoch, EpochSums()
        run.progress.start_epoch(epoch, num_batches(run.val_loader) or 0, "validate")
        with untouched_generators(), run.average.applied():
            steps = run.validation_loop.steps(iterate(run.val_loader, epoch=epoch), sums)
            with closing(steps):
                for index in steps:
                    if index % BATCHES_PER_AGREEMENT == 0:
                        self._agree(run)
                    if self._stop.is_agreed:
                        break
        self._agree(run)
        if self._stop.is_agreed:
            self._interrupt(run)
        return run.world.add_up(sums).result(epoch)

    def _agree(self, run: Run) -> None:
        """Learn whether another rank was asked to stop; each asks at the same place."""
        if self._stop.needs_agreement and run.world.any(self._stop.is_requested):
            self._stop.agree("another rank was asked to")

    def _interrupt(self, run: Run, path: Path | None = None) -> NoReturn:
        """Write the state, unless ``path`` holds it already, and leave."""
        if path is None:
            path = run.save_step(blocking=True)
        run.checkpoints.wait()
        run.world.any(False)  # no rank leaves before the state is whole
        stopped = TrainingInterrupted(path, self._stop.reason)
        logger.info("%s", stopped)
        raise stopped


def _refuse_no_data(name: str, data: Any) -> None:
    if not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        allowed = "a dataset of samples, a DataLoader, or another iterable of batches"
        raise WrongTypeError(name, described(data), allowed)
