"""What lem-thermalize reads, for the corpus of hostile files: states, starts, streams of rollouts, networks, codebooks, tokens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from lemtools import media
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets import model as models
from lemtools.nets.emulator import Emulator
from lemtools.signal import LemError, Signal
from lemtools.thermalize import prepared, rollout
from lemtools.thermalize.driver import driven, filtered
from lemtools.thermalize.judge import check
from lemtools.train import checkpoint

if TYPE_CHECKING:
    from helpers.corpus import Corpus

ROWS, STEPS, LENGTH = 8, 40, 8
MEMORY = "thermalize --memory {d}/steady.npy --memory-rows 8 --false-fire .3"
AS_MEMORY = """
    thermalize --memory {x} --memory-rows 8 --false-fire .3 {d}/start.st -o {o}.safetensors
    thermalize --memory {x} --memory-rows 8 --false-fire .3 --symmetry translate,reflect --always {d}/drifting.st -o {o}.safetensors
    thermalize --memory {x} --memory-rows 8 --threshold .1 --corrector snap {d}/start.st -o {o}.npy
    thermalize --memory {x} --memory-rows 8 --threshold .1 --corrector memory --neighbours 3 --always {d}/start.st -o {o}.npy
    thermalize --memory {x} --memory-rows 8 --false-fire .3 --corrector local --patch 3 --symmetry translate {d}/drifting.st -o {o}.npy
    thermalize --memory {x} --memory-rows 8 --false-fire .3 --gate distance --gate-neighbours 4 {d}/drifting.st -o {o}.npy
    thermalize --check --memory {x} --rows 8 --window 2 {d}/steady.npy
    thermalize --report {x} --rows 8 --candidate {d}/steady.npy --control other={d}/steady.npy
"""
AS_INPUT = f"""
    {MEMORY} {{x}} -o {{o}}.safetensors
    {MEMORY} --rows 8 --strict --log /dev/null {{x}} -o {{o}}.npy
    {MEMORY} --rows 4 --every 3 --corrector wiener --always --max-calls 3 --budget .5 {{x}} -o {{o}}.safetensors
    {MEMORY} --exec cat --steps 3 {{x}} -o {{o}}.safetensors
    {MEMORY} --exec 'head -c 700' --steps 3 --timeout 5 {{x}} -o {{o}}.safetensors
    {MEMORY} --exec 'cat {{x}}' --steps 3 --timeout 5 {{d}}/start.st -o {{o}}.safetensors
    thermalize --check --memory {{d}}/steady.npy --rows 8 --window 3 {{x}} {{d}}/drifting.st
    thermalize --report {{d}}/steady.npy --rows 8 --candidate {{x}} --control b={{d}}/drifting.st --solver cat
    thermalize --report {{d}}/steady.npy --rows 8 --candidate a={{d}}/steady.npy --control b={{x}} --json
"""
BOOK = "thermalize --codebook {d}/book.npy --rows 8"
AS_FRAMES = f"""
    {BOOK} --memory {{d}}/frames.npy --false-fire .3 {{x}} -o {{o}}.npy
    {BOOK} --memory {{d}}/frames.npy --false-fire .3 --window 2 --grid 2x3 {{x}} -o {{o}}.safetensors
    {BOOK} --memory {{d}}/frames.npy --false-fire .3 --window 2 --keep-margin .1 {{x}} -o {{o}}.npy
    {BOOK} --memory {{x}} --false-fire .3 --corrector snap {{d}}/frames.npy -o {{o}}.npy
    {BOOK} --exec cat --steps 2 {{x}} -o {{o}}.npy
    {BOOK} --window 2 --prepare {{x}} --drifted {{d}}/frames.npy -o {{o}}/
    {BOOK} --window 2 --prepare {{d}}/frames.npy --drifted {{x}} -o {{o}}/
"""
AS_BOOK = """
    thermalize --codebook {x} --rows 8 --window 2 --exec cat --steps 3 {d}/frames.npy -o {o}.npy
    thermalize --codebook {x} --rows 8 --memory {d}/frames.npy --false-fire .3 {d}/frames.npy -o {o}.npy
"""
AS_EMULATOR = f"""
    info {{x}}
    {MEMORY} --rollout {{x}} --steps 3 {{d}}/start.st -o {{o}}.safetensors
    thermalize --rollout {{x}} --steps 3 {{d}}/start.st -o {{o}}.safetensors
"""


def waves(rng: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Noisy waves [T R, 1, L]."""
    x, time = 2 * np.pi * np.arange(LENGTH) / LENGTH, np.arange(steps)[:, None, None, None]
    values = np.cos(x + rng.uniform(0, 6, (rows, 1, 1)) - 0.7 * time) + 0.1 * rng.standard_normal(
        (steps, rows, 1, LENGTH)
    )
    return values.reshape(-1, 1, LENGTH).astype(np.float32)


def states(corpus: Corpus) -> None:
    """States as a memory and as input, and all that a rollout is made with."""
    from helpers.corpus import loaded, streamed

    rng = corpus.rng
    steady, drifting, start = waves(rng, ROWS, STEPS), 1.5 * waves(rng, ROWS, 6), waves(rng, ROWS, 1)
    np.save(os.path.join(corpus.folder, "steady.npy"), steady)
    made = prepared(steady, ROWS, false_fire=0.3)

    def as_memory(path: str) -> None:
        other = prepared(media.store([path], kind="field")[:], ROWS, false_fire=0.3, symmetry=("translate", "reflect"))
        for _ in rollout(lambda x: x, start, 2, other):
            pass

    def as_input(path: str) -> None:
        made.reset()
        for _ in filtered(media.load([path], kind="field", loop=True, batch=1 << 40), made):
            pass

    def as_start(path: str) -> None:
        made.reset()
        for _ in driven(lambda x: x, np.asarray(media.store([path], kind="field"), np.float32), 2, made):
            pass

    def checked(path: str) -> None:
        check(steady, ROWS, [media.store([path], kind="field", loop=True)], ROWS, window=2)

    def judged(path: str) -> None:
        from lemtools.compare.rollouts import Judge

        values = media.store([path], kind="field", loop=True)
        it = Judge(steady, ROWS, lambda x: x)
        it.against(it.judged("a", values, ROWS), it.itself)
        Judge(values, ROWS).judged("b", steady, ROWS)

    readers = (as_memory, as_input, as_start, checked, judged)
    whole = Signal("field", steady)
    corpus.add("steady.st", streamed([whole], one=True), "safetensors", *readers, commands=AS_MEMORY + AS_INPUT)
    with open(os.path.join(corpus.folder, "steady.npy"), "rb") as file:
        corpus.add("states.npy", file.read(), "npy", *readers, commands=AS_MEMORY + AS_INPUT)
    steps = [Signal("field", part, index=np.arange(ROWS) + i * ROWS) for i, part in enumerate(np.split(drifting, 6))]
    corpus.add("drifting.st", streamed(steps), "safetensors", *readers, commands=AS_INPUT)
    corpus.add("start.st", streamed([Signal("field", start)], one=True), "safetensors", *readers, commands=AS_INPUT)
    broken = drifting.copy()
    broken[5, 0, 3], broken[-3:] = np.nan, np.inf
    steps = [Signal("field", part) for part in np.split(broken, 6)]
    corpus.add("broken.st", streamed(steps), "safetensors", as_input, checked, judged, commands=AS_INPUT)
    networks(corpus, made, start)
    frames = rng.integers(0, 5, (ROWS * STEPS, 6)).astype(np.int32)
    for name, array, lines in (
        ("book.npy", rng.standard_normal((5, 3)).astype(np.float32), AS_BOOK),
        ("frames.npy", frames, AS_FRAMES),
    ):
        np.save(os.path.join(corpus.folder, name), array)
        corpus.add(name, None, "npy", loaded, commands=lines)


def networks(corpus: Corpus, made: object, start: np.ndarray) -> None:
    """Networks for states."""

    def used(path: str) -> None:
        model = models.load(path)
        if model.family == "step":
            for _ in rollout(Emulator(model), start, 2, made):  # type: ignore[arg-type]
                pass
            return
        for corrector in ("net", "conditional", "iterate"):
            try:
                other = prepared(
                    np.load(os.path.join(corpus.folder, "steady.npy")), ROWS, corrector=corrector, model=model,
                    threshold=0.01, every=True,
                )  # fmt: skip
            except LemError:
                continue
            for _ in rollout(lambda x: x, start, 2, other):
                pass

    item = {"kind": "field", "item": [1, LENGTH]}
    shared = dict(channels=1, width=8, blocks=1)
    for name, net, told in (
        ("emulator", {"net": "conv-step", **shared, "side": 3, "axes": 1}, []),
        ("denoiser", {"net": "resnet", **shared, "axes": 1, "conditioned": False}, []),
        ("told", {"net": "resnet", **shared, "axes": 1, "conditioned": True}, ["--noise 0-1"]),
    ):
        meta = {"v": 1, "tool": "lem-train", "version": "0", "recipe": "diffusion", "net": net, **item, "target": item}
        meta |= {"fragment": told, "classes": 0, "step": 1, "seed": 0, "card": {}}
        path = os.path.join(corpus.folder, f"{name}.model")
        checkpoint.save_model(models.Model(build(net), meta, Scale(), Scale()), path)
        corrector = {
            "denoiser": ("net", "iterate --denoise-steps 2"),
            "told": ("conditional", "conditional --noise .1"),
        }
        lines = "\n".join(
            f"{MEMORY} --model {{x}} --always --corrector {how} {{d}}/drifting.st -o {{o}}.safetensors"
            for how in corrector.get(name, ())
        )
        corpus.add(f"{name}.model", None, "safetensors", used, commands=lines or AS_EMULATOR)
