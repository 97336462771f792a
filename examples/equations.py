"""Chaotic systems to learn and to correct: the solvers behind dynamics.py, in float64.

A state is an array [R, C, ...] of R rows, which know nothing of each other. Kuramoto-Sivashinsky and Lorenz-96 work in
NumPy, Kolmogorov flow in PyTorch, on the device of the states.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lemtools.rng import generator
from lemtools.signal import LemError

ROWS = 8  # of Kolmogorov flow that are computed at once on a CPU


class Etd(NamedTuple):
    """What ETDRK4 needs to know of a linear part: exp of it over a whole and half a step, and four weights."""

    whole: Any
    half: Any
    middle: Any
    first: Any
    both: Any
    last: Any


def etd(linear: np.ndarray, dt: float) -> Etd:
    """The weights for a real diagonal linear part, as means over 32 points of a circle of radius 1 around each
    eigenvalue, where the formulas do not cancel (Kassam & Trefethen, SIAM J. Sci. Comput. 26, 2005)."""
    points = np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)  # the lower half of the circle is its mirror image
    z = dt * linear[..., None] + points
    e = np.exp(z)
    mean = lambda values: dt * values.mean(-1).real
    return Etd(
        np.exp(dt * linear),
        np.exp(dt / 2 * linear),
        mean((np.exp(z / 2) - 1) / z),
        mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3),
        mean((4 + 2 * z + e * (2 * z - 4)) / z**3),
        mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
    )


def etdrk4(v: Any, slope: Callable[[Any], Any], w: Etd) -> Any:
    """One step of dv/dt = linear v + slope(v), of fourth order (Cox & Matthews, J. Comput. Phys. 176, 2002, eq. 26-29).
    Without a linear part it is the classical Runge-Kutta step."""
    at = slope(v)
    kept = w.half * v
    a = kept + w.middle * at
    at_a = slope(a)
    at_b = slope(kept + w.middle * at_a)
    at_c = slope(w.half * a + w.middle * (2 * at_b - at))
    return w.whole * v + w.first * at + w.both * (at_a + at_b) + w.last * at_c


def rk4(x: np.ndarray, slope: Callable[[np.ndarray], np.ndarray], dt: float) -> np.ndarray:
    """One classical Runge-Kutta step."""
    a = slope(x)
    b = slope(x + dt / 2 * a)
    c = slope(x + dt / 2 * b)
    return x + dt / 6 * (a + 2 * (b + c) + slope(x + dt * c))


@dataclass(frozen=True)
class System:
    """One system and how it is solved.

    shape: of a state, (C, ...). time: that one step of an emulator takes. dt: of the solver; a step has time / dt of them.
    spin: steps until a random start lies on the attractor. std: of the states on the attractor, over all places and times.
    """

    name: str
    shape: tuple[int, ...]
    time: float
    dt: float
    spin: int
    std: float

    @property
    def inner(self) -> int:
        """Steps of the solver in one of an emulator."""
        return round(self.time / self.dt)

    def start(self, rows: int, seed: int = 0, spin: int | None = None) -> np.ndarray:
        """States float64 [rows, C, ...] on the attractor. A row's depends on the seed and its number alone, not on how
        many there are; spin: steps to take before, if not those of the system."""
        draws = [self.draw(generator(seed, row, 0, self.name)) for row in range(rows)]
        return self.step(np.stack(draws).reshape(rows, *self.shape), self.spin if spin is None else spin)

    def step(self, states: Any, steps: int = 1) -> Any:
        """The states float64 [R, C, ...] after `steps` steps of an emulator. Rows that are NaN or overflow become NaN and
        leave the others alone. Raises LemError for states of another shape."""
        if tuple(states.shape[1:]) != self.shape:
            raise LemError(
                f"states of {self.name} are [R, {', '.join(map(str, self.shape))}], not {list(states.shape)}"
            )
        with np.errstate(all="ignore"):
            for _ in range(steps):
                states = self.advance(states)
        return states

    def residual(self, previous: Any, claimed: Any) -> Any:
        """[R]: by how much each claimed successor differs from the solver's, rms over the state, in units of the std."""
        with np.errstate(all="ignore"):
            return ((claimed - self.step(previous)) ** 2).reshape(len(previous), -1).mean(1) ** 0.5 / self.std

    def by(self, dt: float) -> "System":
        """The same system, solved by steps of dt."""
        return replace(self, dt=dt)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A random state, anywhere."""
        raise NotImplementedError

    def advance(self, states: Any) -> Any:
        """The states after `time`."""
        raise NotImplementedError


@dataclass(frozen=True)
class KuramotoSivashinsky(System):
    """u_t = -u u_x - u_xx - u_xxxx, periodic on [0, length), of mean 0; states [R, 1, N].

    ETDRK4 in the Fourier modes below N / 3, which the square does not alias into (Orszag, J. Atmos. Sci. 28, 1971).
    """

    length: float = 22.0

    @cached_property
    def parts(self) -> tuple[Etd, np.ndarray, np.ndarray]:
        """(weights, factor of the square's modes, which modes are kept)."""
        n = self.shape[-1]
        mode = np.arange(n // 2 + 1)
        k, kept = 2 * np.pi / self.length * mode, 3 * mode < n
        return etd(k**2 - k**4, self.dt), -0.5j * k * kept, kept

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        n = self.shape[-1]
        modes = np.zeros(n // 2 + 1, complex)
        low = slice(1, max(4, round(self.length / 6)))  # about as long as the waves that grow
        modes[low] = rng.normal(size=(2, len(modes[low]))).T @ [1, 1j]
        u = np.fft.irfft(modes, n)
        return u / u.std()

    def advance(self, states: np.ndarray) -> np.ndarray:
        n = self.shape[-1]
        weights, factor, kept = self.parts
        v = np.fft.rfft(np.asarray(states, np.float64)) * kept
        for _ in range(self.inner):
            v = etdrk4(v, lambda v: factor * np.fft.rfft(np.fft.irfft(v, n) ** 2), weights)
        return np.fft.irfft(v, n)


@dataclass(frozen=True)
class Lorenz96(System):
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - damping x_i + forcing, in a ring; states [R, 1, N].

    Lorenz, "Predictability: a problem partly solved" (ECMWF, 1996), where time .05 is about six hours; RK4.
    """

    forcing: float = 8.0
    damping: float = 1.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return self.forcing + rng.normal(size=self.shape[-1])

    def advance(self, states: np.ndarray) -> np.ndarray:
        x = np.asarray(states, np.float64)
        for _ in range(self.inner):
            x = rk4(x, self.slope, self.dt)
        return x

    def slope(self, x: np.ndarray) -> np.ndarray:
        ring = np.concatenate([x[..., -2:], x, x[..., :1]], -1)  # two neighbours before, one behind
        return (ring[..., 3:] - ring[..., :-3]) * ring[..., 1:-2] - self.damping * x + self.forcing


@dataclass(frozen=True)
class Kolmogorov(System):
    """w_t + u w_x + v w_y = (w_xx + w_yy) / reynolds - drag w - n cos(n y), w = v_x - u_y the vorticity of a flow on
    [0, 2 pi)^2 that sin(n y) pushes along x; states [R, 1, N, N], y before x.

    Reynolds number 40, n = 4 and no drag as in Chandler & Kerswell, J. Fluid Mech. 722 (2013). ETDRK4 in the Fourier
    modes below N / 3 each way, the advection from u v and u^2 - v^2 alone (Basdevant, J. Comput. Phys. 50, 1983).
    Takes and gives NumPy arrays, computed on `device`, or tensors, computed where they are.
    """

    reynolds: float = 40.0
    wave: int = 4
    push: float = 1.0
    drag: float = 0.0
    device: str = "cpu"
    placed: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)  # the parts, by device

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """(weights, factors of the modes of vorticity that give u and v, of u v and u^2 - v^2 that give its slope, and
        the push)."""
        n = self.shape[-1]
        y, x = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
        kept = (3 * abs(y) < n) & (3 * x < n)
        square = y**2 + x**2
        turned = np.divide(1j, square, where=square > 0, out=np.zeros(square.shape, complex))
        velocity = np.stack([turned * y, -turned * x]) * kept
        products = np.stack([x**2 - y**2, -x * y]) * kept
        profile = -self.push * self.wave * np.cos(self.wave * 2 * np.pi / n * np.arange(n))
        pushed = np.fft.rfft2(np.repeat(profile[:, None], n, 1))
        return *etd(-square / self.reynolds - self.drag, self.dt), velocity, products, pushed * kept, kept

    def on(self, device: Any) -> tuple[Any, ...]:
        """The parts as tensors."""
        import torch

        if device not in self.placed:
            self.placed[device] = tuple(torch.as_tensor(part, device=device) for part in self.parts)
        return self.placed[device]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        n, low = self.shape[-1], 6
        y, x = np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1)
        modes = rng.normal(size=(n, n // 2 + 1, 2)) @ [1, 1j] * ((y**2 + x**2 <= low**2) & (y**2 + x**2 > 0))
        w = np.fft.irfft2(modes, (n, n))
        return w * self.std / w.std()

    def advance(self, states: Any) -> Any:
        import torch

        if not isinstance(states, torch.Tensor):
            given = torch.from_numpy(np.ascontiguousarray(states, np.float64)).to(self.device)
            return self.advance(given).cpu().numpy()
        if (
            states.device.type == "cpu"
        ):  # a few rows at a time, which the cache holds; always as many, for the same bits
            few = [part.contiguous() for part in states.double().split(ROWS)]
            padded = [torch.cat([part, part.new_zeros(ROWS - len(part), *self.shape)]) for part in few]
            return torch.cat([self.advanced(part)[: len(given)] for part, given in zip(padded, few)])
        return self.advanced(states.double())

    def advanced(self, states: Any) -> Any:
        """The tensor of states after `time`, all rows at once."""
        import torch

        n = self.shape[-1]
        *weights, velocity, products, pushed, kept = self.on(states.device)

        def slope(w: Any) -> Any:
            u, v = torch.fft.irfft2(velocity * w, (n, n)).unbind(1)
            made = torch.fft.rfft2(torch.stack([u * v, (u - v) * (u + v)], 1)) * products
            return made.sum(1, keepdim=True) + pushed

        w = torch.fft.rfft2(states) * kept
        for _ in range(self.inner):
            w = etdrk4(w, slope, Etd(*weights))
        return torch.fft.irfft2(w, (n, n))
