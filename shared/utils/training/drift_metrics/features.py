"""The kinds of features, and how each is read from JSON."""

from __future__ import annotations

from typing import Any

from utils.training.drift_metrics.categories import CategoricalFeature
from utils.training.drift_metrics.embeddings import EmbeddingFeature
from utils.training.drift_metrics.numeric import NumericFeature
from utils.training.drift_metrics.tokens import TokenFeature

Feature = NumericFeature | CategoricalFeature | TokenFeature | EmbeddingFeature

KINDS: dict[str, Any] = {
    kind.kind: kind for kind in (NumericFeature, CategoricalFeature, TokenFeature, EmbeddingFeature)
}
