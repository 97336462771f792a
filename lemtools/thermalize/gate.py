"""The gate: how noisy a state is, and from which level on that is no chance."""

from __future__ import annotations

import torch

from ..catalogue import LemError
from ..denoise.gaussian import Gaussian


class Gate:
    """Reads the level of white noise in states (Gaussian.level), and fires above a threshold.

    threshold: the level that a share `false_fire` of clean states, held out, exceeds. Levels are in units of the std.
    """

    def __init__(self, gaussian: Gaussian, threshold: float):
        self.gaussian, self.threshold = gaussian, threshold

    @classmethod
    def calibrated(cls, gaussian: Gaussian, held: torch.Tensor, false_fire: float) -> Gate:
        """held: clean states [V, D] in coordinates. LemError for fewer of them than the share asks."""
        if not 0 < false_fire < 1:
            raise LemError(f"a share of false fires lies between 0 and 1, not {false_fire:g}")
        levels = torch.as_tensor(gaussian.level(held))
        if len(held) * false_fire < 1:
            raise LemError(
                f"a share of false fires of {false_fire:g} needs {round(1 / false_fire)} held-out states or more, not {len(held)}; store more"
            )
        return cls(gaussian, float(torch.quantile(levels, 1 - false_fire)))

    def level(self, x: torch.Tensor) -> torch.Tensor:
        """[R] of x [R, D]; nan where a state is not finite."""
        return torch.as_tensor(self.gaussian.level(x))

    def cleaned(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """E[x_0 | x] for noise of that level [R] under the Gaussian: the Wiener filter."""
        alpha_bar = 1 / (1 + level.square())
        return self.gaussian(x * alpha_bar.sqrt()[:, None], alpha_bar)
