"""How much of the meaning of words, and of the likeness to brains, is left at few bits: the words, and the tables of meaning.sh.

python meaning.py words DATA OUT            words.txt, repeated.txt and others.txt, as lines for lem-encode --encoder minilm
python meaning.py table DATA OUT [--quick]  meaning.jsonl, a line for each row; meaning.md. What is not there is left out, with a note
"""

import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import lemtools
from lemtools.compare.classes import ami, probe
from lemtools.compare.correlation import pearson, ranks
from lemtools.compare.representations import linear_predictivity
from lemtools.compare.summary import mean_interval, share_interval
from lemtools.denoise.moments import student_t

sys.path.insert(0, str(Path(__file__).parent))
import meaning_brains
import translate
from resume import keep, resumed

OTHERS = 2000  # words that components are fitted to
GROUPS, FEW = 10, 5  # of words, each left out in turn; where it is slow
COMPONENTS = {8: (32, 1), 16: (32, 4), 64: (32, 4, 1)}  # {components: bits of each}
QUICK = {8: (32, 1), 16: (4,)}
OWN = ((8, 32), (8, 1))  # components and bits, fitted to the very words that are measured
SHUFFLED = "384 numbers, shuffled categories"


class Words:
    """Rosch's lists: `items` (category, rank, word) of words in one list alone, `every` of all; `names` of the categories."""

    def __init__(self, folder: Path):
        paths = [path for path in sorted(folder.glob("*.txt")) if path.stem != "SOURCE"]
        lists = {
            path.stem: [line.strip() for line in path.read_text("utf8").split("\n") if line.strip()] for path in paths
        }
        count = Counter(word for words in lists.values() for word in words)
        self.names = list(lists)
        self.every = [(k, i, word) for k, words in enumerate(lists.values()) for i, word in enumerate(words)]
        self.items = [item for item in self.every if count[item[2]] == 1]
        self.by, self.rank = (np.array([item[at] for item in self.items]) for at in (0, 1))
        self.words = [item[2] for item in self.items]


def words(data: Path, out: Path) -> None:
    """The words and then the categories' names; all entries of the lists; and other words, by which components are fitted."""
    rosch = Words(data / "rosch1975")
    known = {word for item in rosch.every for word in item[2].split()} | set(rosch.names)
    _, vocabulary = translate.minilm_tokens()
    usable = [word for word in vocabulary if re.fullmatch("[a-z]{3,}", word) and word not in known]
    others = np.random.default_rng(1).permutation(usable)[:OTHERS].tolist()
    for name, lines in (
        ("others", others),
        ("repeated", [w for _, _, w in rosch.every]),
        ("words", rosch.words + rosch.names),
    ):
        (out / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf8")
    print(f"{len(rosch.items)} words that stand in one of {len(rosch.names)} lists, {len(rosch.every)} entries in all")


# --- what comes back


def components(others: np.ndarray, x: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coordinates [N, dims] on the first principal axes of other words, the axes [dims, D], their mean)."""
    mean = others.mean(0)
    axes = np.linalg.svd(others - mean, full_matrices=False)[2][:dims]
    return (x - mean) @ axes.T, axes, mean


def codes(
    x: np.ndarray, others: np.ndarray, quick: bool
) -> Iterator[tuple[str, Callable[[], tuple[np.ndarray, float]]]]:
    """(name, what gives (vectors as they come back, bits a word)) of each way to keep MiniLM's vectors x."""
    yield f"{x.shape[1]} numbers", lambda: meaning_brains.broken(x, 32)
    for bits in (2, 1) if quick else (4, 2, 1):
        yield (
            f"{x.shape[1]} numbers, {meaning_brains.counted(bits)} each",
            lambda bits=bits: meaning_brains.broken(x, bits),
        )
    for bits in () if quick else (2, 1):
        yield (
            f"{x.shape[1]} numbers, {meaning_brains.counted(bits)} each, trellis",
            lambda bits=bits: meaning_brains.broken(x, bits, "trellis"),
        )
    asked = [(dims, bits, others, "") for dims, each in (QUICK if quick else COMPONENTS).items() for bits in each]
    for dims, bits, learnt, which in [*asked, *((dims, bits, x[:-10], " of these words") for dims, bits in OWN)]:

        def back(dims=dims, bits=bits, learnt=learnt):
            z, axes, mean = components(learnt, x, dims)
            made, cost = meaning_brains.broken(z, bits)
            return made @ axes + mean, cost

        yield f"{dims} components{which}, {meaning_brains.counted(bits)} each", back


def letters(lines: list[str], length: int) -> np.ndarray:
    """[N, F]: how often each string of so many characters stands in a word; of more than one, its ends count as characters."""
    shown = [line if length == 1 else f"^{line}$" for line in lines]
    parts = [[line[i : i + length] for i in range(len(line) - length + 1)] for line in shown]
    known = list(string.ascii_lowercase) if length == 1 else sorted({part for each in parts for part in each})
    return np.array([[each.count(part) for part in known] for each in parts], float)


# --- words by what is left of them


def jackknifed(measure: Callable[[np.ndarray], float], count: int, groups: int) -> float:
    """Half of the 95 % interval over items of a number of a set: each of some groups of items left out in turn (Student's t)."""
    group = np.random.default_rng(0).permutation(np.arange(count) % groups)
    left = np.array([measure(np.flatnonzero(group != g)) for g in range(groups)])
    return student_t(0.95, groups - 1) * float(np.sqrt((groups - 1) / groups * ((left - left.mean()) ** 2).sum()))


def same_nearest(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """1 or 0 [N]: whether the nearest other word by cosine is of the same category."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    return (by[near.argmax(1)] == by).astype(float)


def typicality(x: np.ndarray, names: np.ndarray, rosch: Words) -> np.ndarray:
    """[10]: of each category, Spearman's correlation of the cosine to its name with how typical people find a word."""
    found = []
    for k, name in enumerate(names):
        own = rosch.by == k
        cosine = x[own] @ name / np.linalg.norm(x[own], axis=1) / np.linalg.norm(name)
        found.append(pearson(ranks(cosine)[:, None], ranks(-rosch.rank[own].astype(float))[:, None])[0])
    return np.nan_to_num(found)  # (of cosines that are all alike, 0)


def measured(x: np.ndarray, y: np.ndarray, rosch: Words, groups: int, by: np.ndarray | None = None) -> dict:
    """Each number of words as they came back, y [N + 10, D], and half its interval; x: the originals, or None."""
    by, n = rosch.by if by is None else by, len(rosch.items)
    now, names = y[:n], y[n:]
    fitted, again, *_ = probe(x[:n] if x.shape == y.shape else now, now, classes=by)
    same, likeness = same_nearest(now, by), typicality(now, names, rosch)
    clusters = ami(now, now, classes=by, k=len(rosch.names))[0]
    half = jackknifed(lambda kept: ami(now[kept], now[kept], classes=by[kept], k=len(rosch.names))[0], n, groups)
    rows = {"ami": [clusters, clusters - half, clusters + half]}
    rows |= {name: list(share_interval(v)) for name, v in (("nearest", same), ("fitted", fitted), ("refitted", again))}
    return rows | {"typicality": list(mean_interval(likeness))}


def of_words(data: Path, out: Path, quick: bool) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Rows of the table of words: MiniLM's vectors at few bits, and controls."""
    rosch, groups = Words(data / "rosch1975"), FEW if quick else GROUPS
    x, others = (loaded(out, name) for name in ("words", "others"))

    def one(back):
        made, cost = back()
        return {"bits": cost} | measured(x, made, rosch, groups)

    for name, back in codes(x, others, quick):
        yield name, lambda back=back: one(back)
    for name, length in ("single letters", 1), ("strings of three letters", 3):
        made = letters(rosch.words + rosch.names, length)
        yield name, lambda made=made: measured(made, made, rosch, groups)
    dealt = np.random.default_rng(0).permutation(rosch.by)
    yield SHUFFLED, lambda: {**measured(x, x, rosch, groups, dealt), "typicality": None}


def loaded(out: Path, name: str) -> np.ndarray:
    return lemtools.load(str(out / f"{name}.safetensors")).signal().data.astype(float)


# --- one model from another


def of_models(data: Path, out: Path, quick: bool) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Rows of the table of linear predictivity: MiniLM's vectors of the words from wordllama's, and controls."""
    from tokenizers import Tokenizer

    rosch, groups = Words(data / "rosch1975"), FEW
    y, repeated = loaded(out, "words")[: len(rosch.items)], loaded(out, "repeated")
    table, path = translate.wordllama()
    tokenizer = Tokenizer.from_file(str(path))

    def llama(lines):
        return np.array([table[tokenizer.encode(line, add_special_tokens=False).ids].mean(0) for line in lines], float)

    def one(x, y=y, bits=None):
        found = linear_predictivity(y, x)
        half = jackknifed(lambda kept: linear_predictivity(y[kept], x[kept]).value, len(x), groups)
        return {"bits": bits, "r": [found.value, found.value - half, found.value + half], "R2": found.beside}

    x = llama(rosch.words)
    yield "wordllama, 256 numbers", lambda: one(x, bits=32.0 * x.shape[1])
    for bits in (1,) if quick else (4, 2, 1):
        yield (
            f"wordllama, {meaning_brains.counted(bits)} each",
            lambda bits=bits: one(*(lambda z: (z[0], y, z[1]))(meaning_brains.broken(x, bits))),
        )
    if not quick:
        yield "strings of three letters", lambda: one(letters(rosch.words, 3))
    yield "single letters", lambda: one(letters(rosch.words, 1))
    yield "wordllama, shuffled words", lambda: one(x[np.random.default_rng(0).permutation(len(x))])
    every = llama([word for _, _, word in rosch.every])
    every += 1e-6 * np.random.default_rng(0).standard_normal(
        every.shape
    )  # so that no two are equal, and it is not refused
    some = np.random.default_rng(1).permutation(len(every))[: len(x)]
    yield "wordllama, repeated words left in", lambda: one(every, repeated)
    yield "wordllama, as many of these entries", lambda: one(every[some], repeated[some])


# --- tables

TABLES = {  # table: (its folder of data, its rows)
    "words": ("rosch1975", of_words),
    "models": ("rosch1975", of_models),
    "brains": ("objects92", meaning_brains.rows),
}


def main(data: Path, out: Path, quick: bool) -> None:
    path = out / "meaning.jsonl"
    done = resumed(path)
    for table, (folder, rows) in TABLES.items():
        if not (data / folder).is_dir():
            print(f"meaning.py: {data / folder} is not there: without {table}", file=sys.stderr)
            continue
        for name, work in rows(data, out, quick):
            if not any((one["table"], one["row"], one["quick"]) == (table, name, quick) for one in done):
                keep(path, done, {"table": table, "row": name, "quick": quick} | work())
    text = shown([one for one in done if one["quick"] == quick])
    (out / "meaning.md").write_text(text)
    print(text)


def cell(value: list[float] | None) -> str:
    """'value (low to high)'."""
    if value is None:
        return ""
    mean, low, high = map(translate.short, value)
    return f"{mean} ({low} to {high})"


def shown(done: list[dict]) -> str:
    """The tables that there are rows of."""
    out = []
    for table, heads, cells in (
        ("words", ("kept of a word", "bits", "AMI", "nearest", "typicality", "probe", "refitted"),
         lambda one: [cell(one[name]) for name in ("ami", "nearest", "typicality", "fitted", "refitted")]),
        ("models", ("from", "bits", "r", "R^2"), lambda one: [cell(one["r"]), translate.short(one["R2"])]),
        ("brains", ("of an object", "bits", "r, over people", "± over objects", "less, over people", "± over objects"),
         lambda one: [part for each in (one, one.get("less")) for part in (_beside(each) if each else ["", ""])]),
    ):  # fmt: skip
        mine = [one for one in done if one["table"] == table]
        if mine:
            rows = [[one["row"], f"{one['bits']:,.0f}" if one.get("bits") else "", *cells(one)] for one in mine]
            lines = [heads, ["---"] * len(heads), *rows]
            out.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(out) + "\n"


def _beside(one: dict) -> list[str]:
    return [cell(one["r"]), translate.short(one["objects"])]


if __name__ == "__main__":
    what, *paths = [argument for argument in sys.argv[1:] if argument != "--quick"]
    folders = [Path(path) for path in paths]
    if what == "words":
        words(*folders)
    else:
        main(*folders, "--quick" in sys.argv)
