"""Versions of models, from their registration to their retirement."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from utils.training.artifact_digest import artifact_digest as digest_of
from utils.training.database import Page, Store
from utils.training.database.checks import check_id, check_ids, check_mapping
from utils.training.database.paging import check_limit
from utils.training.errors import InvalidArgumentError, UnknownNameError
from utils.training.model_registry import promotions, queries, registration
from utils.training.model_registry.errors import UnknownModelError
from utils.training.model_registry.records import (
    Lineage,
    Promotion,
    RegisteredModel,
    Verification,
)
from utils.training.model_registry.tables import TAGS, model

if TYPE_CHECKING:
    import pandas as pd


logger = logging.getLogger(__name__)


class ModelRegistry(Store):
    """Models in a database: SQLite for a path, Postgres for a URL.

    A model carries exactly one tag. It begins as ``experimental``; ``staging`` marks a candidate;
    ``production`` is what is served, at most one version of a name; ``retired`` is out of use. Any
    number of versions may carry a tag other than production, and a search by such a tag with a name
    gives the version that got it last.

    A registry may be used by several threads and processes at once.
    """

    def register_model(
        self,
        name: str,
        version: str | None,
        checkpoint_path: str | Path,
        task_type: str,
        metrics: Mapping[str, float] | None = None,
        config_hash: str | None = None,
        training_run_id: int | None = None,
        parent_model_id: int | None = None,
        export_formats: Sequence[str] | None = None,
        model_size_mb: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        artifact_digest: str | None = None,
        data_profile: Any = None,
        reference_profile: Any = None,
        created_by: str | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Register a version, with its metrics and lineage, as ``experimental``.

        Args:
            name: of the model; at most 255 characters, as are version and task type.
            version: unique within the name; None takes the next whole number.
            checkpoint_path: a file, a folder, or where else the artifact lies.
            task_type: such as ``language_modeling``.
            metrics: by name; NaN and infinities are kept.
            config_hash: of the training's configuration.
            training_run_id: of the run that made it.
            parent_model_id: the model it was made from.
            export_formats: such as ``["onnx"]``.
            model_size_mb: in megabytes (10**6 bytes); by default the artifact's, where it is here.
            metadata: whatever else belongs to it.
            artifact_digest: SHA-256 in hexadecimal; by default computed, as the size is.
            data_profile: of the data it was trained on.
            reference_profile: what drift is measured against.
            created_by: who registers it.
            idempotency_key: a retry with the same key and content gives the same id again.

        Returns:
            The model's id.

        Raises:
            AlreadyRegisteredError: a ValueError; name and version are taken, or the key was used
                for something else.
            ValueError: a value is not of its kind, or there is no such parent.
        """
        row, numbers = registration.values_of(
            {
                "name": name,
                "version": version,
                "checkpoint_path": _location(checkpoint_path),
                "task_type": task_type,
                "config_hash": config_hash,
                "training_run_id": training_run_id,
                "parent_model_id": parent_model_id,
                "export_formats": _formats(export_formats),
                "model_size_mb": model_size_mb,
                "metadata": check_mapping("metadata", metadata),
                "artifact_digest": artifact_digest,
                "data_profile": data_profile,
                "reference_profile": reference_profile,
                "created_by": created_by,
                "idempotency_key": idempotency_key,
            },
            check_mapping("metrics", metrics),
        )
        try:
            with self._writing() as connection:
                return registration.insert_model(connection, row, numbers)
        except IntegrityError as error:
            with self._reading() as connection:
                return registration.registered_before(connection, row, error)

    def get_model(
        self,
        model_id: int | None = None,
        tag: str | None = None,
        name: str | None = None,
        version: str | None = None,
        *,
        as_of: datetime | None = None,
    ) -> RegisteredModel | None:
        """Read one model: by id, by tag (of a name), or by name and version.

        Args:
            model_id: alone.
            tag: with a name, or without one where a single name holds the tag.
            name: with a tag or a version.
            version: with a name.
            as_of: with a tag: who held it at this time (a naive one is UTC).

        Returns:
            The model, or None where there is none.

        Raises:
            ValueError: another combination, or a tag that several names hold; it lists them.
        """
        given = tuple(v is not None for v in (model_id, tag, name, version))
        with self._reading() as connection:
            if given == (True, False, False, False) and as_of is None:
                where: dict[str, Any] = {"model_id": check_id("model_id", model_id)}
                return queries.read_one(connection, queries.BY_ID, where)
            if given == (False, False, True, True) and as_of is None:
                where = {"name": name, "version": version}
                return queries.read_one(connection, queries.BY_VERSION, where)
            if tag is not None and not given[0] and not given[3]:
                return _holder(connection, _known(tag), name, as_of)
        raise InvalidArgumentError(
            "get_model takes model_id alone, tag (with name and as_of, if wanted), or name and "
            "version; give one of these combinations."
        )

    def reference_profile(self, model_id: int) -> Any:
        """What drift of a model's inputs and outputs is measured against; None if none was given.

        Raises:
            UnknownModelError: a LookupError; there is no such model.
        """
        return self._one_column(model_id, model.c.reference_profile)

    def _one_column(self, model_id: int, column: Any) -> Any:
        with self._reading() as connection:
            row = connection.execute(select(column).where(model.c.id == model_id)).first()
        if row is None:
            raise _unknown([model_id])
        return row[0]

    def list_models(
        self,
        *,
        name: str | None = None,
        tag: str | None = None,
        task_type: str | None = None,
        training_run_id: int | None = None,
        text: str | None = None,
        metrics: Mapping[str, queries.MetricRange] | None = None,
        order_by_metric: str | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[RegisteredModel]:
        """Search models; the newest come first, unless a metric orders them.

        Args:
            name: exactly.
            tag: exactly.
            task_type: exactly.
            training_run_id: exactly.
            text: somewhere in name, version, task type or metadata, in any case.
            metrics: (lowest, highest) by name, bounds included; None is no bound, NaN is in none.
            order_by_metric: leaves out models without this metric, or with NaN.
            descending: the greatest value of that metric first.
            limit: 1 to 1,000 models.
            cursor: the ``next_cursor`` of the page before, with the same arguments.
        """
        check_limit(limit)
        conditions = queries.matching(
            name=name,
            tag=tag,
            task_type=task_type,
            training_run_id=training_run_id,
            text=text,
            metrics=metrics,
        )
        with self._reading() as connection:
            if order_by_metric is None:
                return queries.page(connection, conditions, limit, cursor)
            return queries.page_by_metric(
                connection, conditions, limit, cursor, order_by_metric, descending=descending
            )

    def lineage(self, model_id: int) -> Lineage:
        """All ancestors and descendants of a model, its run and the profile of its data.

        Raises:
            UnknownModelError: a LookupError; there is no such model.
        """
        profile = self._one_column(model_id, model.c.data_profile)
        with self._reading() as connection:
            (found,) = queries.by_ids(connection, [model_id])
            return Lineage(
                model=found,
                parents=queries.ancestors(connection, model_id),
                children=queries.descendants(connection, model_id),
                training_run_id=found.training_run_id,
                data_profile=profile,
            )

    def promote_model(
        self,
        model_id: int,
        tag: str,
        expected_current: int | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> Promotion:
        """Give a model another tag, up or down; the production version it replaces is retired.

        Args:
            model_id: of the model.
            tag: ``production``, ``staging``, ``experimental`` or ``retired``.
            expected_current: the id of the production version that the decision was made against,
                0 for none; the change is refused where it is another by now. None: don't compare.
                (What is in production already stays there, whatever was expected.)
            reason: why, for the audit.
            actor: who, for the audit.

        Returns:
            The audit row.

        Raises:
            ConflictError: production is not what was expected.
            UnknownModelError: a LookupError; there is no such model.
            UnknownNameError: a ValueError; there is no such tag.
        """
        model_id = check_id("model_id", model_id)
        with self._writing() as connection:
            name = promotions.name_of(connection, model_id)
            promotions.lock(connection, name)
            return promotions.change_tag(
                connection,
                name,
                model_id,
                _known(tag),
                kind="promote",
                expected_current=expected_current,
                reason=reason,
                actor=actor,
            )

    def rollback(
        self,
        name: str,
        reason: str | None = None,
        actor: str | None = None,
        expected_current: int | None = None,
    ) -> Promotion:
        """Put the production version before the present one back, which is retired.

        A second rollback goes one further back. Where production is empty, the version before the
        one that left it comes back.

        Args:
            name: of the model.
            reason: why, for the audit.
            actor: who, for the audit.
            expected_current: as in :meth:`promote_model`: the version to be rolled back.

        Raises:
            ConflictError: there is none before, or production is not what was expected.
            UnknownModelError: a LookupError; there is no such name.
        """
        with self._writing() as connection:
            promotions.lock(connection, name)
            return promotions.change_tag(
                connection,
                name,
                promotions.version_before(connection, name),
                "production",
                kind="rollback",
                expected_current=expected_current,
                reason=reason,
                actor=actor,
            )

    def history(
        self, name: str, limit: int | None = None, before: int | None = None
    ) -> list[Promotion]:
        """The audit of a name's tags, newest first.

        Args:
            name: of the model.
            limit: at most so many rows.
            before: only rows with a smaller ``sequence``.
        """
        with self._reading() as connection:
            return promotions.of_name(connection, name, limit, before)

    def verify(self, model_id: int) -> Verification:
        """Compute the digest of a model's artifact again, and hold it against the registered one.

        Raises:
            UnknownModelError: a LookupError; there is no such model.
        """
        found = self.get_model(model_id)
        if found is None:
            raise _unknown([model_id])
        path = Path(found.checkpoint_path)
        actual = digest_of(path) if path.exists() else None
        return Verification(model_id, found.artifact_digest, actual)

    def compare_models(self, model_ids: Sequence[int]) -> pd.DataFrame:
        """A table with one row a model, in the order given, and one column a metric.

        A metric that is named like another column comes as ``metrics.<name>``. An id without a
        model is left out with a warning.

        Raises:
            UnknownModelError: a LookupError; none of the ids has a model.
        """
        from utils.training.model_registry.comparison import comparison_table

        ids = check_ids("model_ids", model_ids)
        with self._reading() as connection:
            found = queries.by_ids(connection, ids)
        missing = sorted(set(ids) - {item.model_id for item in found})
        if missing and not found:
            raise _unknown(missing)
        if missing:
            logger.warning("%s Compared are the others.", _unknown(missing))
        return comparison_table(found)


def _location(checkpoint_path: Any) -> str:
    if not isinstance(checkpoint_path, str | PathLike) or not str(checkpoint_path):
        raise InvalidArgumentError(
            f"checkpoint_path is {checkpoint_path!r}, allowed is a path; give where the artifact "
            "lies."
        )
    return str(checkpoint_path)


def _formats(export_formats: Any) -> list[str]:
    if isinstance(export_formats, str):
        raise InvalidArgumentError(
            f"export_formats is {export_formats!r}, allowed is a list such as ['onnx']."
        )
    return list(export_formats or ())


def _holder(
    connection: Connection, tag: str, name: str | None, as_of: datetime | None
) -> RegisteredModel | None:
    """Who holds a tag; of several versions of a name, the one that got it last."""
    if name is None:
        names = queries.names_with(connection, tag, as_of)
        if len(names) > 1:
            raise InvalidArgumentError(
                f"Several names have a {tag} model: {', '.join(names)}; give the name of one."
            )
        if not names:
            return None
        name = names[0]
    if as_of is not None:
        return queries.holder_as_of(connection, tag, name, as_of)
    return queries.read_one(connection, queries.BY_TAG_OF_NAME, {"tag": tag, "name": name})


def _known(tag: str) -> str:
    if tag not in TAGS:
        raise UnknownNameError("tag", tag, TAGS)
    return tag


def _unknown(model_ids: Sequence[int]) -> UnknownModelError:
    listed = ", ".join(map(str, model_ids))
    return UnknownModelError(f"There is no model {listed}; the list of models has those there are.")
