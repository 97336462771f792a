"""Small codes of tokens against full tables at equal stored bits: `python learned_encodings.py DATA OUT [stage ...]`.

prepare  what is learnt and what is kept back, a vocabulary of the former alone, and what costs nothing to train (controls.tsv)
train    ARM-RATIO-SEED.safetensors: the seeds of an arm side by side, through the gates; those that fail them are named in ARM-RATIO.failed
search   ARM-RATIO-SEED.json: the best at each number of stored bits, chosen on what was learnt, measured on what was kept back
table    failures, controls, loss by steps, every arm at sizes that are the same for all, and the predictions with their intervals
plot     picture.png: bits a byte against stored bits

Predicted before any number was there; 16,384 tokens of WikiText:

    1  at a ratio of 8 a learned code costs less than 1 % of bits a byte
    2  at a ratio of 1 codes that are drawn and never learnt are within 3 % of learned ones
    3  a full table at 2 bits along a trellis beats learned codes of every ratio at equal stored bits

Environment, where `quick` is what --quick takes: CORPUS, a name of CORPORA below (wikitext; quick: shakespeare); VOCAB (16384 tokens of BPE,
50000 of stdlib; kmer:6 of dna; quick: 4096; or `bytes`, where there is nothing to make smaller: the vacuous row); ARMS, names of ARMS below (quick: learned
random pca autoencoder trellis); RATIOS (1 2 4 8 16 32 64; quick: 8); RUNS (5 seeds; quick: 1); DEPTH (2; 1), STEPS (1000, of wikitext and shakespeare 300; 200), BATCH (32; 16), WINDOWS
that are measured (1024; 64), WAYS to keep a matrix that the search has (all; few), JOBS side by side (6; 2), DEVICE (auto).
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

import learned_table as report
from lemtools.signal import LemError

HERE = Path(__file__).parent
CHOOSING = 32  # windows on which is chosen
GATES = 300  # updates after which the gates are asked
CHECKS = 5  # how often on the way what is kept back is measured
BLOCK = 8  # windows of a passage, where a text has no documents
TITLE = re.compile(rb"^ = [^=\n]+ = $", re.M)  # of an article of WikiText


class Corpus(NamedTuple):
    """words: for learned_controls.py, {data} in them DATA. vocab: tokens where VOCAB does not say. other: another text, measured with the
    same models. documents: what begins one. steps: updates, before the networks know what is learnt by heart and what is kept back costs
    more again (of a megabyte 300 at most: after 1,000 the full table costs .17 bits more). gates: updates after which these are asked, where
    GATES are too few: of DNA, what a network learns in 300 is less than what counts know."""

    words: tuple[str, ...]
    vocab: str = "16384"
    other: tuple[str, ...] = ()
    documents: re.Pattern | None = None
    steps: int = 1000
    gates: int | None = None


CORPORA = {
    "wikitext": Corpus(
        ("text", "{data}/text/wikitext2-valid.txt", "--held", "{data}/text/wikitext2-test.txt"),
        documents=TITLE,
        steps=300,
    ),
    "shakespeare": Corpus(("text", "{data}/text/tinyshakespeare.txt"), steps=300),
    "stdlib": Corpus(("stdlib",), "50000"),
    "dna": Corpus(
        ("dna", "{data}/genome/ecoli-k12-mg1655.fasta.gz"),
        "kmer:6",
        ("--held", "{data}/genome/vcholerae-o1.fasta.gz", "--skip-others"),
        gates=900,
    ),
    "markov": Corpus(("markov",), "4096"),
}


class Arm(NamedTuple):
    """options: of lem-train lm. ratios: those it has, None: all that are asked for, () for none. table: of a trained full one.
    more: with the operations of the table and of its codes' fit beside its own."""

    options: str = ""
    ratios: tuple[int, ...] | None = None
    table: bool = False
    more: bool = False


ARMS = {
    "full": Arm(ratios=()),
    "learned": Arm("--embedding learned"),
    "random": Arm("--embedding random"),
    "pca": Arm("--embedding pca", table=True),
    "autoencoder": Arm("--embedding autoencoder", table=True),
    "tuned": Arm("--embedding autoencoder --coding tuned", table=True),
    "joint": Arm("--embedding autoencoder --coding joint", table=True),
    "trellis": Arm("--embedding trellis --code-bits 2", (), table=True),
    "quantised": Arm("--embedding quantised --code-bits 2", (), table=True),
    "rvq": Arm("--embedding rvq", (), table=True),
    "tied-full": Arm("--head tied", ()),
    "tied-learned": Arm("--embedding learned --head tied", (8,)),
    "tied-random": Arm("--embedding random --head tied", (8,)),
    "tied-pca": Arm("--embedding pca --head tied", (8,), table=True),
    "longer": Arm("--embedding learned", (8,), more=True),
}


def dial(name: str, full: Any, quick: Any) -> Any:
    return type(full)(os.environ.get(name) or (quick if os.environ.get("QUICK") else full))


class Cell:
    """What is asked for by the environment: one text, one vocabulary, arms and ratios. Refuses what it does not know."""

    def __init__(self, data: str, out: str):
        self.data = data
        self.name = dial("CORPUS", "wikitext", "shakespeare")
        self.corpus = CORPORA[_known("CORPUS", [self.name], CORPORA)[0]]
        self.vocab = dial("VOCAB", self.corpus.vocab, "4096" if self.corpus.vocab.isdigit() else self.corpus.vocab)
        if not (self.vocab == "bytes" or self.vocab.isdigit() or re.fullmatch("kmer:[1-8]", self.vocab)):
            fail(f"VOCAB {self.vocab}: a number of tokens, bytes, or kmer:1 to kmer:8")
        self.arms = _known("ARMS", dial("ARMS", " ".join(ARMS), "learned random pca autoencoder trellis").split(), ARMS)
        ratios, numbers = dial("RATIOS", "1 2 4 8 16 32 64", "8").split(), {}
        for name, full, quick in (
            ("RUNS", 5, 1), ("DEPTH", 2, 1), ("STEPS", self.corpus.steps, 200), ("BATCH", 32, 16), ("WINDOWS", 1024, 64), ("JOBS", 6, 2)
        ):  # fmt: skip
            numbers[name] = dial(name, str(full), str(quick))
        for name, value in [*numbers.items(), *(("RATIOS", ratio) for ratio in ratios)]:
            if not value.isdigit() or not int(value):
                fail(f"{name} {value}: a whole number, 1 or more")
        self.ratios = [int(ratio) for ratio in ratios]
        self.runs, self.depth, self.steps, self.batch, self.windows, self.jobs = map(int, numbers.values())
        (self.ways,) = _known("WAYS", [dial("WAYS", "all", "few")], ("all", "few"))
        self.device, self.out = (
            os.environ.get("DEVICE", "auto"),
            Path(out) / f"{self.name}-{self.vocab.replace(':', '')}",
        )
        self.learnt, self.held = self.out / "learnt.txt", self.out / "held.txt"

    @property
    def codec(self) -> str | None:
        """What makes tokens of the text: a file, a name, or nothing."""
        if self.vocab == "bytes":
            return None
        return str(self.out / f"bpe-{self.vocab}.codec") if self.vocab.isdigit() else self.vocab

    def jobs_of(self, table: bool, more: bool) -> list[tuple[str, Arm, int | None]]:
        """(name, arm, ratio) of what is to be trained, where it needs a table, or a budget, or neither."""
        found = []
        for name in dict.fromkeys(["full", *self.arms]):
            arm = ARMS[name]
            if (arm.table, arm.more) == (table, more):
                ratios = self.ratios if arm.ratios is None else arm.ratios
                found += [(f"{name}-{ratio}", arm, ratio) for ratio in ratios] if ratios else [(name, arm, None)]
        return found

    @property
    def every(self) -> list[str]:
        """Names of all that is trained, what others are made of first."""
        return [job[0] for kind in ((False, False), (True, False), (False, True)) for job in self.jobs_of(*kind)]

    @property
    def predicted(self) -> bool:
        """Whether predictions are of this case: its text, its vocabulary, and seeds enough."""
        return self.out.name == "wikitext-16384" and self.depth == 2 and self.runs >= 5

    def models(self, name: str) -> list[Path]:
        return [self.out / f"{name}-{seed}.safetensors" for seed in range(self.runs)]


def fail(line: str) -> NoReturn:
    raise LemError(line)


def _known(what: str, words: list[str], known: Iterable[str]) -> list[str]:
    for word in words:
        if word not in known:
            fail(f"{what} {word} is none of {' '.join(known)}")
    return words or fail(f"{what}: none")


def side_by_side(cell: Cell, work: Callable, jobs: list) -> None:
    with ThreadPoolExecutor(cell.jobs) as pool:
        for _ in pool.map(work, jobs):
            pass


def called(words: list, **how: Any) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], **how)


def prepare(cell: Cell) -> None:
    cell.out.mkdir(parents=True, exist_ok=True)
    controls = [sys.executable, HERE / "learned_controls.py", *(w.format(data=cell.data) for w in cell.corpus.words)]
    if not cell.held.exists():
        called([*controls, "--longest", 0, "--parts", cell.out], check=True, stdout=subprocess.DEVNULL)
    if cell.codec and cell.vocab.isdigit() and not Path(cell.codec).exists():
        made = cell.out / "codec.safetensors"
        words = ["lem-encode", "-q", "--encoder", "text", "--fit", "--vocab", cell.vocab, cell.learnt, "-o", made]
        called(words, check=True, stdout=subprocess.DEVNULL)
        made.rename(cell.codec)
    codec = ["--codec", cell.codec] if cell.codec and cell.vocab.isdigit() else []
    table_of(cell.out / "controls.tsv", [*controls, *codec])
    if cell.corpus.other:
        other = [word.format(data=cell.data) for word in cell.corpus.other]
        table_of(cell.out / "other.tsv", [*controls, *other, "--parts", cell.out / "other"])


def table_of(path: Path, words: list) -> None:
    """What a command prints, once, whole or not at all."""
    if not path.exists():
        found = called(words, check=True, stdout=subprocess.PIPE).stdout
        part = path.with_suffix(".part")
        part.write_bytes(found)
        part.replace(path)


def train(cell: Cell) -> None:
    """What is trained already is not trained again; what failed its gates is not tried again. A seed that failed leaves the others
    of its arm, and those of arms that are made of its table."""
    for kind in ((False, False), (True, False), (False, True)):
        jobs = cell.jobs_of(*kind)
        if (
            kind[0]
            and jobs
            and (cell.out / "full.failed").exists()
            and not any(m.exists() for m in cell.models("full"))
        ):
            fail(f"{cell.out}/full.failed: no table of it, of which {jobs[0][0]} could be made")
        side_by_side(cell, lambda job: learn(cell, *job), jobs)


def learn(cell: Cell, name: str, arm: Arm, ratio: int | None) -> None:
    failed, said, made = (cell.out / f"{name}.{kind}" for kind in ("failed", "txt", "made"))
    if failed.exists():
        return
    words = command(cell, arm, ratio)
    words += ["--flops", budget(cell, arm, ratio)] if arm.more else ["--steps", cell.steps]
    gates = cell.corpus.gates or GATES
    words += ["--save-every", max(gates, -(-cell.steps // CHECKS)), "--gates", gates, "--workers", 0]
    words += ["--runs", cell.runs, "--log-file", cell.out / f"{name}.jsonl", "-o", cell.out / f"{name}-%d.safetensors"]
    asked = " ".join(map(str, words[words.index("--data") :]))
    if made.exists() and made.read_text() == asked:  # (asked for otherwise, lem-train says what differs)
        return
    done = called(words, stderr=subprocess.PIPE)
    if done.returncode == 0:
        said.write_text(asked)
        said.replace(made)
    elif done.returncode == 1:
        said.write_text(f"{name}\t{done.stderr.decode()}")
        said.replace(failed)
    else:
        sys.stderr.write(done.stderr.decode())
        raise subprocess.CalledProcessError(done.returncode, words)


def command(cell: Cell, arm: Arm, ratio: int | None) -> list:
    """lem-train, but for how long and where to."""
    words = ["lem-train", "lm", "-q", "--data", cell.learnt, "--validate", cell.held, "--depth", cell.depth]
    words += ["--batch", cell.batch, "--device", cell.device, *arm.options.split()]
    words += ["--codec", cell.codec] if cell.codec else []
    words += ["--table", cell.out / "full-%d.safetensors"] if arm.table else []
    return words + (["--ratio", ratio] if ratio else [])


def budget(cell: Cell, arm: Arm, ratio: int | None) -> float:
    """Operations of an arm's own updates, of those of the full table, and of an autoencoder's fit to it, if one was fitted."""
    total = 0.0
    for words in (command(cell, ARMS["full"], None), command(cell, arm, ratio)):
        asked = [*words, "--steps", cell.steps, "--dry-run", "-o", cell.out / "none.safetensors"]
        lines = called(asked, check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()
        total += next(float(line.split("\t")[1]) for line in lines if line.startswith("flops\t"))
    fitted = next(filter(Path.exists, cell.models(f"autoencoder-{ratio}")), None)
    if fitted:
        from lemtools.nets.model import load

        total += load(str(fitted)).meta["table"]["flops"]
    return total


def search(cell: Cell) -> None:
    """Of every arm the seeds one after another, in a process of its own."""
    words = [sys.executable, HERE / "learned_encodings.py", cell.data, cell.out.parent, "seeds"]
    names = [n for n in cell.every if not all(m.with_suffix(".json").exists() for m in cell.models(n) if m.exists())]
    side_by_side(cell, lambda name: called([*words, name], check=True), names)


def seeds(cell: Cell, name: str) -> None:
    """The first seed through all ways, the others through those on its hulls: what is best for one seed is for all, nearly."""
    import torch

    from lemtools.train import storing

    torch.set_num_threads(1)
    narrow = dict(scalar=(1, 2, 3, 4, 6, 8), trellis=(2,), stages=(2,))
    every = storing.ways(**narrow) if cell.ways == "few" else storing.WAYS
    by_name, first = {str(way): way for way in every}, None
    for model in filter(Path.exists, cell.models(name)):
        target = model.with_suffix(".json")
        if not target.exists():
            kept = every if first is None else {k: [by_name[w] for w in names] for k, names in first["ways"].items()}
            found = searched(cell, str(model), kept)
            if first is not None:
                found["ends"] = ""
            part = target.with_suffix(".part")
            part.write_text(json.dumps(found))
            part.replace(target)
        first = first or json.loads(target.read_text())


def searched(cell: Cell, path: str, ways: Any) -> dict:
    """One model: its envelope, with the bits of every window for paired intervals."""
    from lemtools.device import pick
    from lemtools.nets.model import load
    from lemtools.train import storing
    from lemtools.train.corpus import codecs, load_corpus

    began, device = time.perf_counter(), pick(cell.device)
    model = load(path, device)
    tokenizer = codecs([cell.codec] if cell.codec else []).tokenizer
    held = load_corpus([str(cell.held)], tokenizer)
    choosing = storing.windows(model, load_corpus([str(cell.learnt)], tokenizer), CHOOSING, device)
    measuring = storing.windows(model, held, cell.windows, device)
    which = storing.windows(model, replace(held, tokens=documents(cell, held)), cell.windows)[:, 0]
    each, sizes = storing.costs(model.net, measuring)
    points = list(storing.search(model, choosing, measuring, ways))
    line = storing.envelope(points)
    name, seed = Path(path).stem.rsplit("-", 1)
    found = {"arm": name, "seed": int(seed), "data": model.meta["data"], "unit": model.meta.get("unit", "byte")}
    found |= {"as_trained": float(each.sum() / sizes.sum()), "each": each.tolist(), "sizes": sizes.tolist()}
    found |= {"passages": (which if cell.corpus.documents else np.arange(len(sizes)) // BLOCK).tolist()}
    found |= {"ways": {part: sorted({p.chosen[part] for p in points} - {""}) for part in points[0].chosen}}
    found |= {"ends": storing.ends(line), "line": [report.point(p) for p in line]}
    if (other := cell.out / "other/held.txt").exists():
        found["other"] = storing.cost(
            model.net, storing.windows(model, load_corpus([str(other)], tokenizer), cell.windows, device)
        )
    return found | {"seconds": time.perf_counter() - began}


def documents(cell: Cell, held: Any) -> np.ndarray:
    """The number of the document that every token of the text kept back begins in; 0 where it has none."""
    if cell.corpus.documents is None:
        return np.zeros_like(held.tokens)
    lengths = np.ones(held.vocabulary) if held.lengths is None else held.lengths
    ends = np.cumsum(lengths[held.tokens])
    heads = [found.start() for found in cell.corpus.documents.finditer(cell.held.read_bytes())]
    return np.searchsorted(heads, ends - lengths[held.tokens], "right").astype(held.tokens.dtype)


def results(cell: Cell) -> list[dict]:
    paths = (m.with_suffix(".json") for name in cell.every for m in cell.models(name))
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def table(cell: Cell) -> None:
    failed = [name for name in cell.every if (cell.out / f"{name}.failed").exists()]
    text = "".join((cell.out / f"{name}.failed").read_text() for name in failed)
    settles = cell.predicted and all(name.startswith("tied") for name in failed)  # (no prediction is of those)
    controls = ""
    for name in ("controls.tsv", "other.tsv"):
        if (cell.out / name).exists():
            controls += (cell.out / name).read_text() if name == "controls.tsv" else report.other(cell.out / name)
    logs = {name: cell.out / f"{name}.jsonl" for name in cell.every}
    lines = [*report.by_steps(logs, cell.runs), *report.while_learning(logs, cell.runs)]
    lines += report.table(results(cell), settles)
    (cell.out / "table.tsv").write_text(text + controls + "\n".join(lines) + "\n")
    sys.stdout.write((cell.out / "table.tsv").read_text())


def plot(cell: Cell) -> None:
    report.picture(results(cell), cell.out / "controls.tsv", cell.out / "picture.png")


STAGES = {stage.__name__: stage for stage in (prepare, train, search, table, plot)}


def main(words: list[str]) -> int:
    if len(words) < 2:
        print(__doc__.split("\n\n")[0], file=sys.stderr)
        return 2
    data, out, *stages = words
    try:
        cell = Cell(data, out)
        if stages[:1] == ["seeds"]:
            for name in stages[1:]:
                seeds(cell, name)
            return 0
        for stage in _known("stage", stages or list(STAGES), STAGES):
            STAGES[stage](cell)
    except (LemError, OSError) as error:
        print(f"learned_encodings.py: error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:  # which has said why
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
