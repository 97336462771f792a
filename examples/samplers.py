"""What is drawn from a language model of bytes: how it repeats itself, and what it costs another model, beside held-out text.

    samplers.py TEXT MODEL MODEL [MODEL ...] [--prompts N] [--prompt BYTES] [--more BYTES] [--seed S]

The models are lem-train lm's, of TEXT without its last tenth, and differ by their seeds. N prompts, evenly spaced, are taken from the last
tenth, each from the beginning of a line on; every model goes on with each, as lem-reconstruct --model does with --temperature, --top, --top-p
and --typical. Beside it: how the text itself goes on, and n-grams of what was learnt (Witten and Bell, 5 bytes before), drawn.

    words      share of the runs of four words that stood before in the same piece (Welleck et al. 2020, seq-rep-4)
    bytes      the same of four bytes
    bits       a byte that the piece costs the next of the models, which did not write it, after the same prompt
    more       those less what the text itself costs

Every number is the mean over prompts and models, with the 95 % interval over prompts (each the mean over models), and for bits the least and the
most of the models.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch

from lemtools.compare.summary import mean_interval
from lemtools.nets.model import load
from lemtools.reconstruct.continuing import Continuer
from lemtools.reconstruct.language import Language
from lemtools.restore.ngram import NGram
from lemtools.rng import generator
from lemtools.signal import LemError, Signal

SAMPLERS: list[dict[str, float]] = [
    {},
    {"temperature": 0.8},
    {"temperature": 0.6},
    {"temperature": 0},
    {"top": 20},
    {"top": 5},
    {"top_p": 0.95},
    {"top_p": 0.9},
    {"top_p": 0.8},
    {"typical": 0.95},
    {"typical": 0.9},
    {"typical": 0.5},
    {"typical": 0.2},
]
ORDER = 5  # bytes before that n-grams go by


def repeated(symbols: Sequence, count: int = 4) -> float:
    """Share of the runs of `count` symbols that stood before in the same sequence; 0 where it has none."""
    runs = [tuple(symbols[i : i + count]) for i in range(len(symbols) - count + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def held_out(raw: np.ndarray, count: int, length: int) -> np.ndarray:
    """uint8 [N, length] of the last tenth, evenly spaced, each from the beginning of a line on."""
    last = raw[len(raw) - len(raw) // 10 :]
    starts = np.flatnonzero(last == 10) + 1
    starts = starts[starts + length <= len(last)]
    picked = np.unique(starts[np.linspace(0, len(starts) - 1, count).astype(int)]) if len(starts) else starts
    if len(picked) < count:
        raise LemError(f"the last tenth, {len(last)} bytes, has no {count} pieces of {length} that begin with a line")
    return last[picked[:, None] + np.arange(length)]


@torch.inference_mode()
def bits(reader: Language, prompts: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Bits a byte [N] of pieces [N, T] after prompts [N, P]."""
    nats = -reader.reader(prompts.astype(np.int64)).score(torch.from_numpy(pieces.astype(np.int64)))
    return nats.mean(1).cpu().numpy() / np.log(2)


def counted(model: NGram, prompts: np.ndarray, more: int, seed: int) -> np.ndarray:
    """uint8 [N, more] drawn from n-grams, byte after byte."""
    made: list[list[int]] = []
    for row, prompt in enumerate(prompts):
        state, rng = model.at(prompt), generator(seed, row, 0, "n-grams")
        made.append([])
        for _ in range(more):
            p, to = model.after(state)
            made[-1].append(int(rng.choice(len(p), p=p / p.sum())))
            state = int(to[made[-1][-1]])
    return np.array(made, np.uint8)


def measured(pieces: list[np.ndarray], prompts: np.ndarray, readers: list[Language]) -> dict[str, np.ndarray]:
    """[models, N] of each number; model i's pieces are read by the next one."""
    count = len(readers)
    return {
        "words": np.array([[repeated(row.tobytes().split()) for row in made] for made in pieces]),
        "bytes": np.array([[repeated(row.tobytes()) for row in made] for made in pieces]),
        "bits": np.array([bits(readers[(i + 1) % count], prompts, made) for i, made in enumerate(pieces)]),
    }


def drawn(asked: argparse.Namespace, prompts: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Every way's name and what each model goes on with, [N, more]."""
    learnt = np.fromfile(asked.text, np.uint8)
    counts = NGram([learnt[: len(learnt) - len(learnt) // 10]], 256, ORDER)
    seeds = [asked.seed + i for i in range(len(asked.models))]
    yield f"n-grams of {ORDER + 1} bytes", [counted(counts, prompts, asked.more, seed) for seed in seeds]
    models = [load(path) for path in asked.models]
    for how in SAMPLERS:
        name = ", ".join(f"{key.replace('_', '-')} {value:g}" for key, value in how.items()) or "all, temperature 1"
        made = []
        for model, seed in zip(models, seeds, strict=True):
            going_on = Continuer(model, more=asked.more, seed=seed, **how)
            made.append(going_on(Signal("tokens", prompts))[0].data[:, prompts.shape[1] :].astype(np.uint8))
        yield name, made


def shown(values: np.ndarray, sign: str = "") -> str:
    """Of [models, N]: the mean and its interval over N."""
    mean, low, high = mean_interval(values.mean(0))
    return f"{mean:{sign}.3f}" if low is None else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def table(asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    pieces = held_out(np.fromfile(asked.text, np.uint8), asked.prompts, asked.prompt + asked.more)
    prompts, text = pieces[:, : asked.prompt], pieces[:, asked.prompt :]
    readers = [Language(path) for path in asked.models]
    yield "", "words", "bytes", "bits", "least", "most", "more"
    own = measured([text] * len(readers), prompts, readers)
    for name, made in chain([("held-out text", [text] * len(readers))], drawn(asked, prompts)):
        found = measured(made, prompts, readers)
        each = found["bits"].mean(1)
        numbers = [shown(found[key]) for key in ("words", "bytes", "bits")]
        yield name, *numbers, f"{each.min():.3f}", f"{each.max():.3f}", shown(found["bits"] - own["bits"], "+")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("text", metavar="TEXT")
    made.add_argument("models", metavar="MODEL", nargs="+")
    made.add_argument("--prompts", type=int, default=48, help="[%(default)s]")
    made.add_argument("--prompt", type=int, default=128, help="bytes of a prompt [%(default)s]")
    made.add_argument("--more", type=int, default=512, help="bytes that are drawn [%(default)s]")
    made.add_argument("--seed", type=int, default=0, help="of the draws [%(default)s]")
    return made


def main(words: list[str] | None = None) -> int:
    asked = parser().parse_args(words)
    try:
        if len(asked.models) < 2:
            raise LemError("one model has no other to read what it writes; name two or more")
        for row in table(asked):
            print(*row, sep="\t", flush=True)
    except (LemError, OSError) as error:
        print(f"samplers.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
