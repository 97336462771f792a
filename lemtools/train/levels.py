"""Learning to read how much noise is in a state: the loss, and the calibration that is kept with the model."""

from __future__ import annotations

import numpy as np
import torch

from ..nets import calibration
from ..nets.level import told
from ..nets.model import Model
from .objectives import Objective
from .run import Prepared
from .trainer import Trainer

CLEAN = 0.1  # share of the states that are shown without noise
LARGEST = 4096  # held-out states that are looked at, at most


class Levels(Objective):
    """-log of the probability density that the network tells of log s, where x = state + s n and log s is drawn evenly between
    the ends of its levels; it is shared between the two levels on either side. CLEAN of the states have no noise: of them
    -log of the probability of that."""

    needs_fragments = False

    def __init__(self, model: Model):
        super().__init__(model, "plain")

    @staticmethod
    def extras(rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {
            "share": np.float32(rng.random()),
            "clean": np.bool_(rng.random() < CLEAN),
            "noise": rng.standard_normal(item, dtype=np.float32),
        }

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._both(batch)[0]

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss as in training; |log read - log true| over the states with noise."""
        loss, error = self._both(batch)
        noisy = (~batch["clean"]).float()
        return {"loss": loss, "log_error": (error * noisy, noisy)}

    def _both(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        state, clean = self.model.scale.encode(batch["target"].float()), batch["clean"]
        logs = self.net.read.logs
        place = batch["share"] * (len(logs) - 1)
        true = logs[0] + (logs[1] - logs[0]) * place
        size = torch.where(clean, 0.0, true.exp()).reshape(-1, *[1] * (state.ndim - 1))
        logits = self.net(state + size * batch["noise"])
        logs_p = logits.log_softmax(1)
        lower = place.floor().long().clamp(max=len(logs) - 2)
        near = logs_p[:, 1:].gather(1, torch.stack([lower, lower + 1], 1))
        part = place - lower
        noisy = -((1 - part) * near[:, 0] + part * near[:, 1]) + (logs[1] - logs[0]).log()
        return torch.where(clean, -logs_p[:, 0], noisy), (true - told(self.net, logits)[0]).abs()


class LevelTrainer(Trainer):
    """Keeps with the model how well it reads states that are kept back."""

    def save_model(self, kept: bool = False) -> None:
        with self.averaged():
            calibrate(self.prepared, self.device)
        super().save_model(kept)

    def finish(self) -> Prepared:
        done = super().finish()
        if self.ranks.first and "calibration" not in done.model.meta:
            calibrate(done, self.device)
        return done


@torch.no_grad()
def calibrate(prepared: Prepared, device: str) -> None:
    """Measure the calibration on what is kept back, into the model's record; without anything there is none."""
    if prepared.validation is None:
        return
    model, items = prepared.model, prepared.validation.items
    states = model.scale.encode(np.asarray(items.rows(np.arange(len(items))), np.float32)).astype(np.float32)

    def read(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [
            told(model.net, model.net(part.to(device))) for part in torch.from_numpy(x).split(prepared.settings.batch)
        ]
        mean, low, high = (torch.cat(each).cpu().numpy() for each in zip(*parts))
        return mean, low, high

    net = model.meta["net"]
    model.meta["calibration"] = calibration.measured(read, states, net["low"], net["high"], prepared.settings.seed)
