"""What stands where in a text, place by place, and what a small language model makes of it: for phases.py.

Concepts of a place: `letter`, the kind of its byte (a vowel, another small letter, a capital, a space, a line end, another sign); `next`, that of
the byte which follows; `inside`, letters since the word began (5: or more); `word`, of the byte behind a word whether that is among the 10, 100,
1,000 commonest of the text that was learnt, or rarer; `ending`, of the same byte whether the word ends in -ing, -ed, -s, -ly, -er, -th or otherwise;
`place`, the eighth of the context.
"""

from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F

from lemtools.nets.lm import LM
from lemtools.rng import generator
from lemtools.signal import LemError

CLASSES = {"letter": 6, "next": 6, "inside": 6, "word": 4, "ending": 7, "place": 8}
ENDINGS = ("ing", "ed", "s", "ly", "er", "th")
FITTED = 0.6  # share of the contexts that probes are fitted to, from the first on
Vectors = dict[tuple[str, int], np.ndarray]  # of a reading at a layer, [places, D]


def kinds(raw: np.ndarray) -> np.ndarray:
    """0 a vowel, 1 another small letter, 2 a capital, 3 a space, 4 a line end, 5 another sign, of bytes."""
    small, capital = (raw >= ord("a")) & (raw <= ord("z")), (raw >= ord("A")) & (raw <= ord("Z"))
    vowel = np.isin(raw, list(b"aeiou"))
    return np.select([vowel, small, capital, raw == 32, raw == 10], range(5), 5)


def words(raw: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of every run of letters."""
    letter = kinds(raw) <= 2
    edges = np.flatnonzero(np.diff(letter.astype(int), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def spelled(raw: np.ndarray, begin: int, end: int) -> str:
    return raw[begin:end].tobytes().decode("ascii").lower()


def concepts(learnt: np.ndarray, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Classes [N, T] by name of the places 0 .. T - 1 of windows [N, T + 1]; -1 where a place has none."""
    rows, span = windows.shape[0], windows.shape[1] - 1
    counts = Counter(spelled(learnt, *word) for word in words(learnt))
    rank = {word: place for place, (word, _) in enumerate(counts.most_common())}
    found = {name: np.full((rows, span), -1) for name in CLASSES}
    found["letter"], found["next"] = kinds(windows[:, :-1]), kinds(windows[:, 1:])
    found["place"][:] = np.arange(span) * CLASSES["place"] // span
    for row, raw in enumerate(windows):
        for begin, end in words(raw[:-1]):
            if begin == 0:  # it may have begun before
                continue
            found["inside"][row, begin:end] = np.minimum(np.arange(end - begin), CLASSES["inside"] - 1)
            if end < span:
                word = spelled(raw, begin, end)
                found["word"][row, end] = sum(rank.get(word, np.inf) >= most for most in (10, 100, 1000))
                match = [place for place, ending in enumerate(ENDINGS) if word.endswith(ending)]
                found["ending"][row, end] = match[0] if match else len(ENDINGS)
    return found


def picked(classes: np.ndarray, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of [N T] to fit and to test a probe, at most `count` and half as many: as many of each class, and as many as the rarest has."""
    first = np.arange(classes.size) < int(len(classes) * FITTED) * classes.shape[1]
    draws, parts = generator(0, 0, 0, "places of a probe"), []
    for here, most in ((first, count), (~first, count // 2)):
        each = [np.flatnonzero(here & (classes.ravel() == k)) for k in range(CLASSES[name])]
        least = min(most // len(each), *map(len, each))
        if not least:
            raise LemError(f"the last tenth of the text is too short for a probe: a class of `{name}` is not there")
        parts.append(np.sort(np.concatenate([draws.permutation(found)[:least] for found in each])))
    return parts[0], parts[1]


@torch.inference_mode()
def read(net: LM, windows: np.ndarray, places: np.ndarray, units: bool = True) -> tuple[Vectors, np.ndarray]:
    """(features, and units and which of them are active, of every block at places of [N T]; bits [N, T]) of windows [N, T + 1]. What the
    head reads is `head` at layer 0."""
    parts: dict[tuple[str, int], list[torch.Tensor]] = {}
    bits = []
    for start in range(0, len(windows), 32):
        tokens = torch.from_numpy(windows[start : start + 32].astype(np.int64))
        span = tokens.shape[1] - 1
        here = places[(places >= start * span) & (places < (start + len(tokens)) * span)] - start * span
        x = net.enter(tokens[:, :-1])
        for layer in range(net.depth + 1):
            parts.setdefault(("features", layer), []).append(x.flatten(0, 1)[here])
            if layer < net.depth:
                block = net.trunk.blocks[layer]
                opened: list[torch.Tensor] = []
                hook = block.gate_up.register_forward_hook(lambda module, given, made, kept=opened: kept.append(made))
                x = net.trunk.run(x, layer, layer + 1)
                hook.remove()
                if units:
                    gate, up = opened[0].flatten(0, 1)[here].chunk(2, -1)
                    parts.setdefault(("units", layer + 1), []).append(F.silu(gate) * up)
                    parts.setdefault(("active", layer + 1), []).append((gate > 0).float())
        last = net.read(x)
        parts.setdefault(("head", 0), []).append(last.flatten(0, 1)[here])
        nats = F.cross_entropy(net.head(last).flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        bits.append(nats.reshape(len(tokens), span) / np.log(2))
    return {name: torch.cat(part).numpy() for name, part in parts.items()}, torch.cat(bits).numpy()


class Data:
    """The last tenth of a text in windows [N, T + 1], one after another, and its concepts."""

    def __init__(self, path: str, context: int):
        raw = np.fromfile(path, np.uint8)
        learnt, held = np.split(raw, [len(raw) - len(raw) // 10])
        count = (len(held) - 1) // context
        if count < 10:
            raise LemError(f"{path}: its last tenth, {len(held)} bytes, is too short for 10 contexts of {context}")
        self.windows = held[np.arange(count)[:, None] * context + np.arange(context + 1)]
        self.classes = concepts(learnt, self.windows)
        self.span = context

    def part(self, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`count` of the windows, evenly spaced, and their concepts."""
        rows = np.unique(np.linspace(0, len(self.windows) - 1, count).astype(int))
        return self.windows[rows], {name: found[rows] for name, found in self.classes.items()}


def ends(x: np.ndarray) -> np.ndarray:
    """One-hot [N T, 4 K] of the last four bytes at every place of windows [N, T + 1], of K that there are."""
    known, code = np.unique(x, return_inverse=True)
    code = code.reshape(x.shape)[:, :-1]
    before = [np.pad(code, ((0, 0), (back, 0)), constant_values=-1)[:, : code.shape[1]] for back in range(4)]
    return np.concatenate([(part.ravel()[:, None] == np.arange(len(known))) for part in before], 1).astype(np.float32)
