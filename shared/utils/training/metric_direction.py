"""Which values of a metric are better, as far as its name tells."""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["lower", "higher"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOWER_IS_BETTER = _words(
    "loss logloss crossentropy error errors err perplexity ppl bpc bpb nll mae mse rmse mape smape "
    "rmsle wer cer ter eer ece brier hinge deviance latency duration seconds ms fid divergence "
    "distance fpr fnr"
)
_HIGHER_IS_BETTER = _words(
    "accuracy acc f1 fbeta auc auroc auprc roc ap map precision recall sensitivity specificity tpr "
    "tnr bleu chrf rouge rougel rougelsum meteor r2 explained ndcg mrr reciprocal iou miou dice "
    "jaccard kappa mcc psnr ssim throughput hit hits exact em likelihood"
)
_NEGATIONS = frozenset({"neg", "negative"})
_OPPOSITE: dict[Direction, Direction] = {"lower": "higher", "higher": "lower"}


def direction_of(name: str) -> Direction | None:
    """Tell whether lower or higher values of a metric are better; None where its name does not.

    The last word that is known decides, so ``val_error_recall`` is a recall; ``neg_`` turns it
    round, and a number behind it (``top5``, ``ndcg@10``, ``rouge2``) does not matter.
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = re.findall(r"[a-z0-9]+", split.replace("cross_entropy", "crossentropy"))
    for word in reversed(words):
        found = _known({word, word.rstrip("0123456789")})
        if found:
            return _OPPOSITE[found] if _NEGATIONS & set(words) else found
    return None


def _known(forms: set[str]) -> Direction | None:
    if forms & _LOWER_IS_BETTER:
        return "lower"
    return "higher" if forms & _HIGHER_IS_BETTER else None
