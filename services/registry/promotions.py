"""Tell whoever listens that a name's production version changed; the table is the truth."""

from __future__ import annotations

import logging

import redis

from utils.service.contracts.predictions import PROMOTIONS
from utils.training.model_registry import Promotion

log = logging.getLogger(__name__)

_KEPT = 1000  # entries of the stream
_PATIENCE_SECONDS = 2


class PromotionBell:
    """Rings once a promotion; a Redis that is away costs listeners a few seconds, no more."""

    def __init__(self, url: str | None) -> None:
        self._redis = None
        if url is not None:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
            )

    def ring(self, promotion: Promotion) -> None:
        """Announce a promotion that is committed."""
        log.info("Model %d is %s of %s.", promotion.model_id, promotion.to_tag, promotion.name)
        if self._redis is None:
            return
        event = {"name": promotion.name, "model_id": promotion.model_id, "tag": promotion.to_tag}
        try:
            self._redis.xadd(PROMOTIONS, event, maxlen=_KEPT, approximate=True)  # type: ignore[arg-type]  # redis-py's field types are invariant
        except redis.RedisError as error:
            log.warning("The promotion of %s was not announced: %s", promotion.name, error)

    def check(self) -> None:
        """Raise where Redis is wanted and does not answer."""
        if self._redis is not None:
            self._redis.ping()
