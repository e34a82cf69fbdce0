"""Models in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from services.cli.output import ago, number, print_json, print_sheet, print_table, say
from utils.service.clients.registry import RegistryClient
from utils.service.http import RemoteError
from utils.training.model_registry import Lineage, Promotion, RegisteredModel
from utils.training.promotion_gate import Verdict

_MOST_METRICS = 3  # in a list
_FIRST_METRICS = ("held_out_accuracy", "val_accuracy", "held_out_score", "val_loss")


@dataclass(frozen=True)
class Sheet:
    """What the registry knows of one model; ``verdict`` is None where the gate never judged it."""

    model: RegisteredModel
    verdict: Verdict | None
    lineage: Lineage
    history: tuple[Promotion, ...]
    has_reference_profile: bool

    @classmethod
    def of(cls, registry: RegistryClient, model_id: int) -> Self:
        """Read all of it."""
        lineage = registry.lineage(model_id)
        model = lineage.model
        return cls(
            model=model,
            verdict=_verdict(registry, model_id),
            lineage=lineage,
            history=tuple(p for p in registry.history(model.name) if p.model_id == model_id),
            has_reference_profile=registry.reference_profile(model_id) is not None,
        )


def show_list(models: Sequence[RegisteredModel]) -> None:
    """One line a model."""
    rows = (
        (
            model.model_id,
            model.name,
            model.version,
            model.tag,
            _metrics(model.metrics),
            None if model.model_size_mb is None else f"{model.model_size_mb:.2f} MB",
            ago(model.created_at),
        )
        for model in models
    )
    columns = (">id", "name", ">version", "tag", "~metrics", ">size", ">age")
    print_table(columns, rows, "There are no such models.")


def show_sheet(sheet: Sheet) -> None:
    """Everything about a model."""
    model = sheet.model
    say(f"{model.name} {model.version} (model {model.model_id})")
    rows = {
        "tag": f"{model.tag}, since {model.tagged_at:%Y-%m-%d %H:%M:%S} UTC",
        "task": model.task_type,
        "metrics": "\n".join(f"{name} {number(v)}" for name, v in sorted(model.metrics.items())),
        "gate": "never judged" if sheet.verdict is None else _judged(sheet.verdict),
        "formats": ", ".join(model.export_formats),
        "bundle": f"sha256 {model.artifact_digest}",
        "drift": "measured" if sheet.has_reference_profile else "no reference profile",
        "made by": f"{model.created_by}, run {model.training_run_id}",
        "made from": ", ".join(_named(parent) for parent in sheet.lineage.parents),
        "led to": ", ".join(_named(child) for child in sheet.lineage.children),
        "job": model.metadata.get("job_id"),
    }
    print_sheet(rows)
    columns = ("at (UTC)", "from", "to", "by", "~why")
    changes = (
        (f"{p.at:%Y-%m-%d %H:%M:%S}", p.from_tag, p.to_tag, p.actor, p.reason)
        for p in sheet.history
    )
    print_table(columns, changes, "Its tag has never changed.")


def show_promotion(promotion: Promotion, *, as_json: bool) -> None:
    """What a promotion or a rollback did."""
    if as_json:
        print_json(promotion)
        return
    replaced = promotion.replaced_model_id
    instead = f", instead of model {replaced}" if replaced else ""
    say(f"Model {promotion.model_id} is {promotion.to_tag} of {promotion.name}{instead}.")


def _verdict(registry: RegistryClient, model_id: int) -> Verdict | None:
    try:
        return registry.verdict(model_id)
    except RemoteError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _judged(verdict: Verdict) -> str:
    return "\n".join(["passed" if verdict.passed else "not passed", *verdict.reasons])


def _metrics(metrics: dict[str, float]) -> str:
    first = [name for name in _FIRST_METRICS if name in metrics]
    names = [*first, *(name for name in sorted(metrics) if name not in first)]
    return ", ".join(f"{name} {number(metrics[name])}" for name in names[:_MOST_METRICS])


def _named(model: RegisteredModel) -> str:
    return f"{model.version} (model {model.model_id})"
