"""examples/dynamics.py: that it solves the equations it names, to the order it names, and what its files hold."""

import importlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from helpers.paths import EXAMPLES
from lemtools import stream
from lemtools.signal import LemError, Signal


@pytest.fixture(scope="module")
def dynamics():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("dynamics")


@pytest.fixture(scope="module")
def found(dynamics):
    """(system, states [8, ...] to begin with) by name: on the attractor, but for Kolmogorov flow, which takes longer."""
    spins = {"ks22": 60, "ks64": 60, "kolmogorov": 2}
    return {name: (each, each.start(8, 1, spins.get(name))) for name, each in dynamics.SYSTEMS.items()}


NAMES = ("ks22", "ks64", "lorenz96", "kolmogorov")


def rms(x):
    return float(np.sqrt((x**2).mean()))


def slope_of(system, x):
    """dx/dt as the equation has it, from a state in space, by other ways than the solver's."""
    if x.shape[1:] == (1, 40):
        rate = np.empty_like(x)
        for i in range(40):
            rate[..., i] = (x[..., (i + 1) % 40] - x[..., i - 2]) * x[..., i - 1] - x[..., i] + 8
        return rate

    def d(x, axis, order=1):
        n = x.shape[axis]
        k = 2 * np.pi / getattr(system, "length", 2 * np.pi) * np.fft.fftfreq(n, 1 / n)
        factor = ((1j * k) ** order).reshape([-1] + [1] * (-axis - 1))
        return np.fft.ifft(factor * np.fft.fft(x, axis=axis), axis=axis).real

    if x.ndim == 3:
        return -x * d(x, -1) - d(x, -1, 2) - d(x, -1, 4)
    n = x.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    square = k[:, None] ** 2 + k**2
    stream = np.fft.ifft2(-np.fft.fft2(x) / np.where(square, square, 1)).real
    push = -4 * np.cos(4 * 2 * np.pi * np.arange(n) / n)[:, None]
    return d(stream, -2) * d(x, -1) - d(stream, -1) * d(x, -2) + (d(x, -1, 2) + d(x, -2, 2)) / 40 + push


@pytest.mark.parametrize("name", NAMES)
def test_a_short_step_follows_the_equation(found, name):
    system, _ = found[name]
    smooth = system.start(2, 5, spin=0)  # few modes: their products alias nowhere, not even without the solver's care
    h = 1e-4
    once, twice = (replace(system, time=t, dt=h).step(smooth) for t in (h, 2 * h))
    rate = (4 * once - 3 * smooth - twice) / (2 * h)
    expected = slope_of(system, smooth)
    assert rms(rate - expected) < 1e-4 * rms(expected)


@pytest.mark.parametrize(
    "name, least, steps, dts, most",
    [
        ("ks22", 3.4, 10, (0.1, 0.025), 1e-6),  # stiff: 4 is reached for shorter steps (Hochbruck & Ostermann, 2005)
        ("ks64", 3.4, 10, (0.1, 0.025), 2e-6),
        ("lorenz96", 3.9, 10, (0.025, 0.00625), 1e-6),
        ("kolmogorov", 3.9, 1, (0.1, 0.05), 3e-5),  # (not yet on the attractor, where it is less)
    ],
)
def test_the_order_of_convergence(found, name, least, steps, dts, most):
    system, x = found[name]
    x = x[:4]
    fine = system.by(dts[-1] / 4).step(x, steps)
    errors = [rms(system.by(dt).step(x, steps) - fine) for dt in dts]
    order = np.log(errors[0] / errors[-1]) / np.log(dts[0] / dts[-1])
    assert least < order < 4.5, (order, errors)
    usual = rms(system.step(x) - system.by(system.dt / 4).step(x)) / system.std
    assert usual < most  # of the step that the system has: far below what an emulator gets wrong


def test_what_the_equations_conserve(found):
    ks, u = found["ks22"]
    moving = u + np.arange(len(u)).reshape(-1, 1, 1) / 10
    assert abs(ks.step(moving, 5).mean(-1) - moving.mean(-1)).max() < 1e-12

    def drifts(system, x, what, steps=2):
        start = what(x)
        return [abs(what(system.by(dt).step(x, steps)) / start - 1).max() for dt in (system.dt, system.dt / 2)]

    def energy(x):
        return (x**2).sum((1, 2))

    lorenz, x = found["lorenz96"]
    whole, half = drifts(replace(lorenz, forcing=0, damping=0), x, energy)
    assert whole < 1e-4 and half < whole / 12
    assert drifts(replace(lorenz, forcing=0), x, energy)[0] > 0.1

    flow, w = found["kolmogorov"]
    ideal = replace(flow, push=0, reynolds=np.inf)
    k = np.fft.fftfreq(64, 1 / 64)
    square = k[:, None] ** 2 + k**2
    inverse = np.divide(1, square, where=square > 0, out=np.zeros_like(square))
    for what in (lambda w: (w**2).sum((1, 2, 3)), lambda w: (inverse * abs(np.fft.fft2(w)) ** 2).sum((1, 2, 3))):
        whole, half = drifts(ideal, w, what, 1)
        assert whole < 1e-4 and half < whole / 12


def test_symmetries(found):
    for name, shift in (("ks22", 5), ("ks64", 17), ("lorenz96", 7)):
        system, x = found[name]
        y = system.step(x, 2)
        assert abs(system.step(np.roll(x, shift, -1), 2) - np.roll(y, shift, -1)).max() < 1e-11
        if name != "lorenz96":
            assert abs(system.step(-x[..., ::-1], 2) + y[..., ::-1]).max() < 1e-11
    flow, w = found["kolmogorov"]
    y = flow.step(w)
    assert abs(flow.step(np.roll(w, 9, -1)) - np.roll(y, 9, -1)).max() < 1e-11
    turned = lambda w: -np.roll(w, 8, -2)[..., ::-1]  # by half a wave of the push, and in the mirror
    assert abs(flow.step(turned(w)) - turned(y)).max() < 1e-11
    assert abs(flow.step(np.roll(w, 8, -2)) - np.roll(y, 8, -2)).max() > 1


def test_flows_that_are_known(found):
    flow, w = found["kolmogorov"]
    laminar = np.broadcast_to(-10 * np.cos(4 * 2 * np.pi * np.arange(64) / 64)[:, None], (1, 1, 64, 64))
    assert abs(flow.step(laminar, 2) - laminar).max() < 1e-9  # Chandler & Kerswell: u = Re / n^2 sin(n y)
    x = 2 * np.pi * np.arange(64) / 64
    wave = np.cos(3 * x[:, None] + 2 * x)[None, None]
    dragged = replace(flow, push=0, drag=0.1)
    assert abs(dragged.step(wave) - wave * np.exp(-0.5 * (13 / 40 + 0.1))).max() < 1e-12


def test_the_attractors(found, dynamics):
    for name, low, high in (("ks22", 1.1, 1.3), ("ks64", 1.25, 1.37)):
        system, x = found[name]
        states = np.stack([x := system.step(x, 2) for _ in range(50)])
        assert low < states.std() < high and low < system.std < high
    lorenz = dynamics.SYSTEMS["lorenz96"]
    states = np.stack([*dynamics.rollout(lorenz, 32, 200, seed=2)])
    assert abs(states.mean() - 2.34) < 0.05 and abs(states.std() - 3.64) < 0.05 and abs(lorenz.std - 3.64) < 0.02


@pytest.mark.slow
def test_how_fast_errors_grow(dynamics):
    """The largest Lyapunov exponent: .043 (Edson, Bunder, Mattner & Roberts, 2019) to .048 (Cvitanovic, Davidchack &
    Siminos, 2010) for a length of 22; 1.7 for Lorenz-96, which doubles errors in 2.1 days (Lorenz, 1996)."""
    for name, rows, steps, low, high in (("ks22", 64, 600, 0.038, 0.052), ("lorenz96", 32, 1000, 1.55, 1.8)):
        system = dynamics.SYSTEMS[name]
        x = system.start(rows, 4)
        y, grown = x + 1e-7 * np.random.default_rng(0).normal(size=x.shape), []
        for _ in range(steps):
            before = np.linalg.norm(y - x, axis=(1, 2), keepdims=True)
            x, y = np.split(system.step(np.concatenate([x, y])), 2)
            after = np.linalg.norm(y - x, axis=(1, 2), keepdims=True)
            grown.append(np.log(after / before).mean())
            y = x + (y - x) * 1e-6 / after
        assert low < np.mean(grown[steps // 6 :]) / system.time < high, name


@pytest.mark.parametrize("name", NAMES)
def test_rows_know_nothing_of_each_other(found, name):
    system, x = found[name]
    assert np.array_equal(system.start(3, 1, spin=1), system.start(9, 1, spin=1)[:3])
    whole = system.step(x)
    for rows in (1, 3, 5):
        assert np.array_equal(system.step(x[:rows]), whole[:rows])
    one = system.step(x[5:6])
    assert abs(one - whole[5:6]).max() < 1e-13 if name == "kolmogorov" else (one == whole[5:6]).all()
    bad = x.copy()
    bad[1], bad[2] = np.nan, 1e200 * x[2]
    after = system.step(bad)
    assert np.isnan(after[1:3]).all() and np.array_equal(np.delete(after, [1, 2], 0), np.delete(whole, [1, 2], 0))
    assert np.array_equal(system.step(system.step(x[:2])), system.step(x[:2], 2))


@pytest.mark.parametrize("name", NAMES)
def test_residuals_are_in_units_of_the_spread(found, name):
    system, x = found[name]
    claimed = system.step(x) + system.std * np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) / 10
    claimed[3] = np.nan
    residual = system.residual(x, claimed)
    assert residual.shape == (8,) and np.isnan(residual[3])
    assert np.allclose(np.delete(residual, 3), np.delete(np.arange(8) / 10, 3), atol=1e-12)


def test_tensors_stay_tensors(found):
    import torch

    flow, w = found["kolmogorov"]
    given = torch.from_numpy(w)
    assert np.array_equal(flow.step(given).numpy(), flow.step(w))
    assert flow.residual(given, given).numpy() == pytest.approx(flow.residual(w, w))
    assert flow.residual(w, w).min() > 0.01


@pytest.mark.parametrize("form", ["npy", "safetensors"])
def test_files_hold_the_rows_side_by_side(dynamics, form, tmp_path, monkeypatch):
    path = tmp_path / f"states.{form}"
    words = f"dynamics.py lorenz96 --rows 3 --steps 5 --every 2 --seed 7 -o {path}"
    monkeypatch.setattr(sys, "argv", words.split())
    dynamics.main()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    found = np.load(path) if form == "npy" else load_file(path)["data"]
    assert found.dtype == np.float32 and found.shape == (15, 1, 40)
    system = dynamics.SYSTEMS["lorenz96"]
    x = system.start(3, 7)
    for t in range(5):
        assert np.array_equal(found[3 * t : 3 * t + 3], x.astype(np.float32))
        x = system.step(x, 2)


def test_a_wrong_shape_is_refused_in_one_line(dynamics, found, monkeypatch, capsys):
    with pytest.raises(LemError, match=r"states of ks22 are \[R, 1, 64\], not \[8, 1, 192\]"):
        found["ks22"][0].step(found["ks64"][1])
    for out in ([], ["-o", "states.wav"]):
        monkeypatch.setattr(sys, "argv", ["dynamics.py", "ks22", *out])
        with pytest.raises(SystemExit):
            dynamics.main()
        assert "-o FILE.npy" in capsys.readouterr().err


def test_the_coprocess_answers_every_state_at_once(dynamics):
    """One that drives it in a closed loop: it waits for each answer before it sends the next states."""
    system = dynamics.SYSTEMS["lorenz96"]
    states = system.start(3, 1).astype(np.float32)
    words = [sys.executable, EXAMPLES / "dynamics.py", "lorenz96", "--filter"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        answers = stream.read(stream.Source(process.stdout, "the coprocess"))
        for t in range(4):
            index = np.arange(3) + 3 * t
            for part in stream.document(Signal("field", states, index=index, last=True if t == 3 else None)):
                process.stdin.write(part)
            answer = next(answers)
            assert answer.kind == "field" and answer.data.dtype == np.float32
            assert np.array_equal(answer.index, index + 3) and answer.last == (True if t == 3 else None)
            expected = system.step(states.astype(float)).astype(np.float32)
            assert np.array_equal(answer.data, expected)
            states = answer.data.copy()
        process.stdin.close()
        assert list(answers) == [] and process.wait(10) == 0


def test_what_the_coprocess_cannot_take_is_one_line():
    words = [sys.executable, EXAMPLES / "dynamics.py", "ks22", "--filter"]
    body = b"".join(map(bytes, stream.document(Signal("field", np.zeros((2, 1, 40), np.float32), last=True))))
    lost = Signal("field", np.zeros((2, 1, 64), np.float32), ops=[{"op": "mask", "fraction": 0.5}], last=True)
    masked = b"".join(map(bytes, stream.document(lost)))
    whole = "fragments; the solver steps whole states (lem-reconstruct makes them whole)"
    for given, said in (
        (masked, f"standard input: {whole}"),
        (body, "states of ks22 are [R, 1, 64], not [2, 1, 40]"),
        (b"", "standard input: empty"),
    ):
        done = subprocess.run(words, input=given, capture_output=True)
        assert done.returncode == 2 and done.stdout == b""
        assert done.stderr.decode() == f"dynamics.py: error: {said}\n"


@pytest.mark.parametrize("name", ["ks22", "ks64"])
def test_the_square_is_free_of_aliases(found, name):
    """Advection moves no energy in or out of the modes that are kept, however rough the state is."""
    system, x = found[name]
    _, factor, kept = system.parts
    u = np.fft.irfft(np.fft.rfft(np.random.default_rng(0).normal(size=x.shape)) * kept, x.shape[-1])
    advected = np.fft.irfft(factor * np.fft.rfft(u**2), x.shape[-1])
    assert abs((u * advected).sum(-1)).max() < 1e-12 * abs(u * advected).sum(-1).max()
