"""An operator's own model: the digits' network, slow enough to be interrupted in an epoch."""

from __future__ import annotations

import time

from services.trainer.samples.digits import DigitNet


class SlowNet(DigitNet):
    """Takes its time where it learns."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, pixel_values):
        if self.training:
            time.sleep(self.seconds)
        return super().forward(pixel_values)


def build_model(seconds=0.05):
    return SlowNet(seconds)
