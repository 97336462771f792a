"""What a network makes small while it learns. An objective is a module: batch -> loss of every item, [N].

It takes the batch apart on the device (see data.Batches), so that little travels.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..fragment.evidence import Evidence
from ..nets.condition import DEEPEST, EVIDENCE, FULL_RANGE, RANGE, Condition
from ..nets.denoiser import noisy, to_x0
from ..nets.denoiser import target as denoising_target
from ..nets.model import Model
from ..rng import generator

# share of the variance that a fragment leaves, below which an error counts no more than by its square
FAINT = 0.02
LOST_VARIANCE = 0.04  # of a lost value about what its neighbours predict, in a network's coordinates; a typical one


class Objective(nn.Module):
    """Common ground: the model, and a batch in its coordinates. passes: of an update, in units of a forward one.
    needs_fragments: whether it cannot learn from memories that are whole."""

    passes = 3
    needs_fragments = True

    def __init__(self, model: Model, weighting: str = "level"):
        super().__init__()
        self.net, self.model, self.weighting = model.net, model, weighting
        self.counted: torch.Tensor | None
        self.register_buffer("counted", getattr(model, "counted", None), persistent=False)

    @staticmethod
    def extras(rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
        """What is drawn for an item on the CPU."""
        return {}

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """What validation reports of every item, each [N]: the loss, and more where there is a plain number.

        Of two [N] the ratio of the sums is reported: bits, say, and the bytes that they are for.
        """
        return {"loss": self(batch)}

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        """Do what the loss takes from frozen parts: there is no backward pass through it."""

    def settle(self) -> None:
        """Put into the network what the objective's own parameters make, before the network is kept."""

    def unpack(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Condition | None, torch.Tensor | None]:
        """(target in coordinates, condition or None, what of the target is seen or None)."""
        target, model = batch["target"], self.model
        target = model.target_scale.encode(target if target.dtype == torch.uint8 else target.float())
        seen = batch.get("seen")
        if "low" not in batch:
            return target, None, seen
        if batch["low"].dtype == torch.uint8:
            evidence = unpacked(batch["low"], batch["high"])
        else:
            evidence = Evidence(**{name: batch[name] for name in EVIDENCE})
        return target, Condition.of(evidence, model.scale, model.meta["kind"], target.device), seen

    def weights(self, condition: Condition | None, seen: torch.Tensor | None, shape: torch.Size) -> torch.Tensor:
        """[N, …] weights of squared errors. 'level': one over the mean variance that a fragment leaves, so that faint
        losses count as much as heavy ones. 'log': the same, and of that the logarithm, so that items count alike whose
        errors differ: the mean is one of errors in dB. 'plain': 1."""
        one = torch.ones((shape[0], *[1] * (len(shape) - 1)), device=self.device)
        if condition is not None and self.weighting in ("level", "log"):
            width = FULL_RANGE.get(self.model.meta["kind"], RANGE) * torch.exp2(-DEEPEST * condition.known)
            noise = condition.sigma.reshape(-1, *[1] * (width.ndim - 1)) ** 2
            variance = torch.where(condition.observed, width**2 / 12 + noise.clamp(max=LOST_VARIANCE), LOST_VARIANCE)
            one = one / variance.flatten(1).mean(1).reshape(one.shape)
        return one if seen is None else one * seen

    def mean(self, error: torch.Tensor) -> torch.Tensor:
        """[N] of [N, ...item], over the parts that count: not those of spectra that are always 0."""
        if self.counted is None:
            return error.flatten(1).mean(1)
        return (error * self.counted).flatten(1).mean(1) / self.counted.float().mean()

    def shown_at(self, target: torch.Tensor, noise: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
        """x_t, of which parts that are always 0 stay so."""
        x_t = noisy(target, noise, alpha_bar)
        return x_t if self.counted is None else x_t * self.counted

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device


def unpacked(low: torch.Tensor, high: torch.Tensor) -> Evidence:
    """What two bytes an element say (data.pack): evidence in tensors, on the device where they are."""
    observed, levels = low <= high, high.float() - low + 1
    middle = low + torch.div(levels, 2, rounding_mode="floor")
    return Evidence(
        value=torch.where(observed, middle / 255, 0.0),
        observed=observed,
        low=torch.where(observed, low / 255, -torch.inf),
        high=torch.where(observed, high / 255, torch.inf),
        width=torch.where(levels > 1, levels / 255, 0.0),
        sigma=torch.zeros(len(low), device=low.device),
    )


class Estimate(Objective):
    """Squared error of the estimate; of a recurrent network, its mean over the depths, the later ones weighing more."""

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        target, condition, seen = self.unpack(batch)
        weights = self.weights(condition, seen, target.shape)
        if hasattr(self.net, "trajectory"):
            errors = [self._error(x, target, weights) for x in self.net.trajectory(condition)]
            share = torch.arange(1, len(errors) + 1, device=target.device, dtype=torch.float32)
            return (torch.stack(errors, 1) * (share / share.sum())).sum(1)
        return self._error(self.net(condition), target, weights)

    def recalled(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The estimate, within what the fragment leaves open, in coordinates."""
        _target, condition, _ = self.unpack(batch)
        x = self.net(condition).float()
        return condition.hold(x) if x.shape == condition.value.shape else x

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss; of images the PSNR in dB over all elements that were ever seen, once what is observed holds."""
        out = {"loss": self(batch)}
        if self.model.meta["target"]["kind"] == "image":
            target, _, seen = self.unpack(batch)
            counts = torch.ones_like(target) if seen is None else seen.float()
            error = (self.recalled(batch).clamp(-1, 1) - target) ** 2 * counts
            error = error.flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)
            out["psnr"] = 10 * torch.log10(4 / error.clamp(min=1e-10))
        return out

    def _error(self, x: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        error = self.mean((x.float() - target) ** 2 * weights)
        return torch.log(error + FAINT) if self.weighting == "log" else error


class Denoise(Objective):
    """Squared error of what the network predicts (eps, x0 or v) at a noise level drawn for the item (Ho et al. 2020).

    alpha_bar follows the schedule of Kamb & Ganguli at a time drawn uniformly; the noise is drawn on the CPU. Labels
    are dropped one time in ten, so that one network also knows the memories of no class in particular. levels: the
    lowest and the highest noise over signal, between which its logarithm is drawn uniformly in place of the time.
    """

    needs_fragments = False
    levels: tuple[float, float] | None = None

    @staticmethod
    def extras(rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {
            "time": np.float64(rng.random()),
            "unlabelled": np.bool_(rng.random() < 0.1),
            "noise": rng.standard_normal(item, dtype=np.float32),
        }

    def alpha_bar(self, time: torch.Tensor) -> torch.Tensor:
        """Of times in [0, 1)."""
        if self.levels is None:
            return torch.cos(time / 1.008 * (math.pi / 2)) ** 2
        low, high = self.levels
        return 1 / (1 + (low * (high / low) ** time) ** 2)

    def shown(self, condition: Condition | None) -> Condition | None:
        """What the network takes of the condition."""
        return condition if self.net.conditioned else None

    def recalled(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """x0 as it is seen at alpha_bar = 1/2, within what a fragment leaves open."""
        target, condition, _ = self.unpack(batch)
        alpha_bar = torch.full((len(target),), 0.5, dtype=torch.float64, device=target.device)
        x_t = self.shown_at(target, batch["noise"], alpha_bar)
        label = batch["label"] if self.net.classes else None
        x0 = to_x0(self.net.predicts, self.net(x_t, alpha_bar, self.shown(condition), label).float(), x_t, alpha_bar)
        return condition.hold(x0) if condition is not None and condition.value.shape == x0.shape else x0

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        target, condition, seen = self.unpack(batch)
        alpha_bar = self.alpha_bar(batch["time"].double())
        noise, label = batch["noise"], None
        if self.net.classes:
            label = torch.where(batch["unlabelled"], -1, batch["label"])
        x_t = self.shown_at(target if seen is None else target * seen, noise, alpha_bar)
        answer = self.net(x_t, alpha_bar, self.shown(condition), label).float()
        error = (answer - denoising_target(self.net.predicts, target, noise, alpha_bar)) ** 2
        return self.mean(error if seen is None else error * seen)


class Step(Objective):
    """Squared error of the next state, in units of the standard deviation. A batch has K + 1 states in a row.

    unrolled: the network makes K steps from the first of them, each from where its last one led, and the loss is the
    mean over all K, the gradient that of the whole way (Um et al. 2020, arXiv 2007.00016). Else the last step alone is
    learnt:

    noise: standard deviation of what is added to the state that is shown, where what follows stays the true one
    (Sanchez-Gonzalez et al. 2020, arXiv 2002.09405). K > 1: half of the loss is that of a step from where the network's
    own K - 1 steps led, through which there is no gradient: the pushforward trick (Brandstetter et al. 2022, arXiv
    2202.03376).
    """

    needs_fragments = False

    def __init__(self, model: Model, noise: float = 0.0, unrolled: bool = False):
        super().__init__(model, "plain")
        self.noise, self.unrolled = noise, unrolled
        if noise:
            self.extras = _next_to

    def states(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[N, K + 1, ...state] in coordinates."""
        x = batch["target"]
        return self.model.scale.encode(x.flatten(0, 1)).reshape(x.shape)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x = self.states(batch)
        if self.unrolled:
            return self._unrolled(x)
        shown = x[:, -2]
        if self.noise:
            shown = shown + self.noise * batch["noise"]
        error = self._error(shown, x[:, -1])
        return error if x.shape[1] == 2 else (error + self._error(self._led(x), x[:, -1])) / 2

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        if not self.unrolled:
            self._led(self.states(batch))

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss as in training; rms error of a step from the true state, in units of the standard deviation."""
        x = self.states(batch)
        return {"loss": self(batch), "one_step": self._error(x[:, -2], x[:, -1]).sqrt()}

    def _unrolled(self, x: torch.Tensor) -> torch.Tensor:
        state, errors = x[:, 0], []
        for following in x[:, 1:].unbind(1):
            state = self.net(state).float()
            errors.append((state - following).square().flatten(1).mean(1))
        return torch.stack(errors).mean(0)

    @torch.no_grad()
    def _led(self, x: torch.Tensor) -> torch.Tensor:
        """Where the network leads from the first state, next to the last but one."""
        state = x[:, 0]
        for _ in range(x.shape[1] - 2):
            state = self.net(state)
        return state

    def _error(self, state: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        return (self.net(state).float() - following).square().flatten(1).mean(1)


class Correct(Objective):
    """Squared error of a state that is corrected, in units of the standard deviation. A batch has three states: the
    previous one, what an emulator claimed after it, and what a solver says."""

    needs_fragments = False

    def __init__(self, model: Model):
        super().__init__(model, "plain")

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._errors(batch)[1]

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss; rms errors of what was claimed and of what it becomes, in units of the standard deviation."""
        claimed, loss = self._errors(batch)
        return {"loss": loss, "claimed": claimed.sqrt(), "corrected": loss.sqrt()}

    def _errors(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x = batch["target"]
        previous, claimed, solved = self.model.scale.encode(x.flatten(0, 1)).reshape(x.shape).unbind(1)
        answer = self.net(previous, claimed).float()
        before, after = ((state - solved).square().flatten(1).mean(1) for state in (claimed, answer))
        return before, after


def _next_to(rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"noise": rng.standard_normal(item[1:], dtype=np.float32)}


class Sequence(Objective):
    """Negative log-probability of what the fragment leaves unknown, in bits per unknown element.

    Of memories that are fragments themselves, what was never seen comes last in the order and does not count.
    """

    @staticmethod
    def extras(rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {"order": rng.random(math.prod(item[1:] if len(item) == 3 else item), dtype=np.float32)}

    def recalled(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """One sample of each item."""
        _, condition, _ = self.unpack(batch)
        order = torch.argsort(batch["order"], 1) if self.net.order == "any" else None
        return self.net.sample(condition, order, [generator(0, i, 0, "sample") for i in range(len(condition))])

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        target, condition, seen = self.unpack(batch)
        if seen is None:
            order = torch.argsort(batch["order"], 1) if self.net.order == "any" else None
            logs, open_ = self.net.log_prob(target, condition, order), condition
        else:
            here = seen.reshape(len(seen), -1, self.net.places).all(1)
            logs = self.net.log_probs(target, condition, torch.argsort(batch["order"] + ~here, 1))
            logs = torch.where(here, logs, 0).sum(1)
            ends = {end: torch.where(seen, getattr(condition, end), 0) for end in ("low", "high")}
            open_ = replace(condition, **ends)  # as if what was never seen were known: it is not counted
        return -logs / self.net.unknown(open_).clamp(min=1) / math.log(2)
