"""What a corpus costs that nothing was trained on: counts, compressors, a classical model of DNA, an exact floor.

    learned_controls.py text FILE... [--held FILE...]         bits a byte
    learned_controls.py stdlib                                the same of the running Python's standard library
    learned_controls.py dna FASTA... [--held FASTA...]        bits a base
    learned_controls.py markov [--kinds K] [--order N]        a source whose entropy rate is known

Everything is learnt from the first nine tenths and measured on the last one, or learnt from FILEs and measured on those
of --held. Of the standard library whole packages are held back, since the files of one are much alike. --vocab V fits a
BPE of V tokens to the learnt part, --codec FILE takes one of lem-encode; bits are those of a byte there, too. --parts DIR
writes both parts, for others to learn from and be measured on: DIR/learnt.txt, DIR/held.txt.

Rows: "unigram entropy" is that of the held-out part itself, which no probabilities without a context can beat. Compressors
are measured as len(compress(learnt + held)) - len(compress(learnt)); the dictionary of xz holds all of it, a block of bzip2
no more than 900 kB. Witten and Bell's n-grams are as learnt, and stay so while they are measured. The model of DNA is
measured in both ways.
"""

import argparse
import bz2
import gzip
import hashlib
import lzma
import platform
import signal
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lemtools.rng import generator
from lemtools.signal import LemError, Signal

BASES = np.frombuffer(b"ACGT", np.uint8)  # the complement of base c is 3 - c
SYMBOLS = np.frombuffer(b" etaoinshrdlucmfwypvbgkqjxz", np.uint8)  # of a Markov source: a tokenizer finds words in it
BLOCK = 1024  # bases between two steps of the mixer

Rows = Iterator[tuple[str, float]]


def entropy(symbols: np.ndarray) -> float:
    """Bits a symbol of the frequencies of whole numbers [n]."""
    share = np.bincount(symbols) / len(symbols)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


def ngrams(learnt: np.ndarray, held: np.ndarray, kinds: int, longest: int) -> Iterator[np.ndarray]:
    """Bits [n] of every symbol of `held` by counts of `learnt`, for contexts of 0, 1 ... `longest` symbols before it.

    Whole numbers below `kinds`. Witten and Bell's smoothing (Method C; IEEE Trans. Inf. Theory 37, 1991), each order
    interpolated with the one below: p_n(c | s) = (count(s c) + t(s) p_{n-1}(c)) / (count(s) + t(s)), t(s) the different
    symbols seen after s, p_{-1} = 1 / kinds, and p_n = p_{n-1} after a context never seen. The held-out part follows on
    the learnt one: its first contexts reach into that.
    """
    row, start = np.concatenate([learnt, held]).astype(np.int64), len(learnt)
    p, context = np.full(len(held), 1 / kinds), np.zeros(len(row), np.int64)
    for order in range(longest + 1):
        grams, which = np.unique(context * kinds + row, return_inverse=True)
        seen, of = np.bincount(which[order:start], minlength=len(grams)), grams // kinds
        after, different = np.bincount(of, seen), np.bincount(of, seen > 0)
        gram = which[start:]
        weight = (after + different)[of[gram]]
        p = np.where(weight > 0, (seen[gram] + different[of[gram]] * p) / np.maximum(weight, 1), p)
        yield -np.log2(p)
        context = np.roll(which, 1)  # (the first places, whose context is not whole, are never counted)


def compressed(learnt: bytes, held: bytes) -> Rows:
    """Bits of all of `held` by compressors that have read `learnt` before it."""
    window = 1 << max(26, (len(learnt) + len(held) - 1).bit_length())  # 64 MiB is what -9 has
    lzma2 = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]
    for name, size in (
        ("xz -9e", lambda x: len(lzma.compress(x, filters=lzma2))),
        ("bzip2 -9", lambda x: len(bz2.compress(x, 9))),
    ):
        yield name, 8.0 * (size(learnt + held) - size(learnt))


def counts_before(bases: np.ndarray, order: int, until: int) -> np.ndarray:
    """float32 [n, 4]: how often each base followed the `order` bases before a place, at earlier places below `until`.

    On both strands: a base also is, complemented, what the other strand has before the complements of those that came
    before it (inverted repeats). Before the first base all is A.
    """
    n, time = len(bases), np.arange(len(bases), dtype=np.uint64) << np.uint64(3)
    padded = np.concatenate([np.zeros(order, np.uint8), bases])
    ahead, back = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for j in range(order):
        ahead = ahead * np.uint64(4) + padded[j : j + n]
        back = back * np.uint64(4) + (3 - padded[order - j : order - j + n])
    # one whole number an event: context, place, strand, base; sorted, the events of a context stand in their order
    shift, place = np.uint64(3 + n.bit_length()), np.uint64((1 << n.bit_length()) - 1)
    events = np.concatenate(
        [(ahead << shift) | time | bases, (back << shift) | time | np.uint64(4) | (3 - padded[:n]).astype(np.uint64)]
    )
    events.sort()
    context, base, at = events >> shift, events & np.uint64(3), (events >> np.uint64(3)) & place
    first = np.flatnonzero(np.diff(context, prepend=~context[:1]))
    asked, sizes, found = (
        np.flatnonzero(events & np.uint64(4) == 0),
        np.diff(first, append=2 * n),
        np.empty((n, 4), np.float32),
    )
    for c in range(4):
        counted = (base == c) & (at < until)
        before = np.cumsum(counted, dtype=np.int32) - counted
        before -= np.repeat(before[first], sizes)
        found[at[asked].astype(np.int64), c] = before[asked]
    return found


def dna(bases: np.ndarray, orders: tuple[int, ...] = (2, 11, 16), until: int | None = None) -> np.ndarray:
    """Bits [n] of every base, whole numbers 0 to 3 (ACGT), each by those before it; from place `until` on nothing is learnt.

    Counts of each order, on both strands, give p_m(c) = (count + a) / (sum + 4 a), a = 1, and 1/16 where a context of
    more than 11 bases is seen once at most by chance (GeCo; Pratas et al., DCC 2016). They are mixed as
    p(c) ~ prod p_m(c) ** w_m (Mattern, DCC 2012). The weights have a set for every count of the highest order and every
    number of its favourites that were right in the last 16 places, which tells a repeat; they follow by Newton's steps,
    one a block, by sums over all blocks so far.
    """
    n = len(bases)
    until = n if until is None else until
    counts = [counts_before(bases, order, until) for order in sorted(orders)]
    alphas = [1.0 if order <= 11 else 1 / 16 for order in sorted(orders)]
    total = counts[-1].sum(1)
    right = np.cumsum(np.append(0, (counts[-1].argmax(1) == bases) & (total > 0)))
    lately = right[:-1] - right[np.maximum(np.arange(n) - 16, 0)]
    sets = np.minimum(total, 3).astype(int) * 17 + lately
    m = len(counts)
    weights, hessian = np.full((4 * 17, m), 1 / m), np.tile(np.eye(m), (4 * 17, 1, 1))
    bits = np.empty(n)
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        logs = np.stack(
            [
                np.log((c[block] + a) / (c[block].sum(1, keepdims=True) + 4 * a))
                for c, a in zip(counts, alphas, strict=True)
            ],
            1,
        )  # [B, m, 4]
        own, here = np.arange(len(logs)), sets[block]
        mixed = np.exp(np.einsum("bm,bmc->bc", weights[here], logs))
        mixed /= mixed.sum(1, keepdims=True)
        bits[block] = -np.log2(mixed[own, bases[block]])
        if start + BLOCK <= until:
            mean = np.einsum("bc,bmc->bm", mixed, logs)
            apart = logs - mean[:, :, None]
            gradient = np.zeros_like(weights)
            np.add.at(gradient, here, mean - logs[own, :, bases[block]])
            np.add.at(hessian, here, np.einsum("bc,bmc,bkc->bmk", mixed, apart, apart))
            weights -= np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
    return bits


class Markov:
    """A source of `kinds` symbols, each drawn by the `order` before it from a table drawn once by the seed.

    Rows of the table [kinds ** order, kinds] are Dirichlet's with all parameters `spread`.
    """

    def __init__(self, kinds: int = 16, order: int = 2, spread: float = 0.2, seed: int = 0):
        if not 2 <= kinds <= len(SYMBOLS) or order < 1 or kinds**order > 1 << 18 or not spread > 0:
            raise LemError(
                f"--kinds {kinds} --order {order}: 2 to {len(SYMBOLS)} kinds, 1 or more before, 2^18 contexts at most"
            )
        self.kinds, self.order, self.seed = kinds, order, seed
        draws = generator(seed, 0, 0, "markov table")
        self.table = draws.dirichlet(np.full(kinds, spread), kinds**order)
        share = np.full(len(self.table), 1 / len(self.table))
        for _ in range(10_000):
            share, last = (share[:, None] * self.table).reshape(kinds, -1).sum(0), share
            if np.abs(share - last).sum() < 1e-14:
                break
        self.share = share / share.sum()

    @property
    def rate(self) -> float:
        """Bits a symbol: the mean over stationary contexts of the entropy of what follows. Exact."""
        logs = np.log2(self.table, where=self.table > 0, out=np.zeros_like(self.table))
        return float(-(self.share @ (self.table * logs).sum(1)))

    def sample(self, length: int) -> np.ndarray:
        """Whole numbers [length], from a stationary context on."""
        draws = generator(self.seed, 0, 1, "markov symbols")
        edges, places = np.cumsum(self.table, 1)[:, :-1], self.kinds ** (self.order - 1)
        at, found = int(draws.choice(len(self.share), p=self.share)), np.empty(length, np.int64)
        for i, u in enumerate(draws.random(length)):
            found[i] = edges[at].searchsorted(u, "right")
            at = at % places * self.kinds + int(found[i])
        return found

    def bits(self, learnt: np.ndarray, held: np.ndarray) -> float:
        """Bits that `held` costs who knows the table, after `learnt`."""
        row, at = np.concatenate([learnt[-self.order :], held]), np.zeros(len(held), np.int64)
        for j in range(self.order):
            at = at * self.kinds + row[j : j + len(held)]
        return float(-np.log2(self.table[at, held]).sum())


def counted(learnt: np.ndarray, held: np.ndarray, kinds: int, longest: int, units: int) -> Rows:
    """Bits of a unit (a byte, a base), of which the held-out part has so many."""
    yield "unigram entropy", entropy(held) * len(held) / units
    for order, bits in enumerate(ngrams(learnt, held, kinds, longest)):
        yield f"Witten-Bell, {order} before", float(bits.sum()) / units


def of_bytes(learnt: bytes, held: bytes, longest: int, coders: list) -> Rows:
    """Bits a byte of a text, by bytes and by the tokens of every coder."""
    parts = [np.frombuffer(part, np.uint8) for part in (learnt, held)]
    yield from counted(*parts, 256, longest, len(held))
    for name, bits in compressed(learnt, held):
        yield name, bits / len(held)
    for coder in coders:
        tokens = [coder.encode(Signal("tokens", part[None]))[0].data[0] for part in parts]
        seen = np.bincount(tokens[0], minlength=coder.vocab)
        name = f"BPE {coder.vocab}: "
        yield name + "share of the vocabulary learnt 10 times or more", float((seen >= 10).mean())
        yield name + "share of the vocabulary never learnt", float((seen == 0).mean())
        yield name + "bytes a token, held out", len(held) / len(tokens[1])
        for row, bits in counted(*tokens, coder.vocab, longest, len(held)):
            yield name + row, bits


def of_bases(learnt: bytes, held: bytes, longest: int, orders: tuple[int, ...]) -> Rows:
    """Bits a base of a sequence of the letters ACGT."""
    code = np.zeros(256, np.uint8)
    code[BASES] = range(4)
    first, last = (code[np.frombuffer(part, np.uint8)] for part in (learnt, held))
    yield from counted(first, last, 4, longest, len(held))
    for name, bits in compressed(learnt, held):
        yield f"{name}, letters", bits / len(held)
    for name, bits in compressed(packed(first), packed(last)):
        yield f"{name}, four bases a byte", bits / len(held)
    mixed = f"orders {', '.join(map(str, orders))} mixed, both strands"
    for name, until in (("as learnt", len(first)), ("learning on", None)):
        yield f"{mixed}, {name}", float(dna(np.concatenate([first, last]), orders, until)[len(first) :].mean())


def packed(bases: np.ndarray) -> bytes:
    """Four bases a byte; what is short of the last is A."""
    return (
        (np.append(bases, np.zeros(-len(bases) % 4, np.uint8)).reshape(-1, 4) @ [64, 16, 4, 1])
        .astype(np.uint8)
        .tobytes()
    )


def read(asked: argparse.Namespace, paths: list[str]) -> bytes:
    """All files, one after another."""
    if asked.source == "dna":
        return read_bases(paths, asked.skip_others)
    return b"".join(Path(path).read_bytes() for path in paths)


def read_bases(paths: list[str], skip: bool) -> bytes:
    """The letters ACGT of all records of FASTA files, packed by gzip or not, one after another; others are refused, or skipped."""
    found = []
    for path in paths:
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        raw = b"".join(line.strip() for line in raw.splitlines() if not line.startswith(b">"))
        if (others := raw.translate(None, b"ACGT")) and not skip:
            kinds = bytes(sorted(set(others))).decode("latin-1")[:20]
            raise LemError(
                f"{path}: {len(others)} letters {kinds!r} beside A, C, G and T; --skip-others leaves them out"
            )
        found.append(raw.translate(None, others))
    return b"".join(found)


def split(raw: bytes) -> tuple[bytes, bytes]:
    """(what is learnt, the last tenth, from a whole character on)."""
    cut = len(raw) - len(raw) // 10
    while cut < len(raw) and raw[cut] & 0xC0 == 0x80:
        cut += 1
    return raw[:cut], raw[cut:]


def stdlib() -> tuple[bytes, bytes]:
    """(what is learnt, packages of a tenth or somewhat more of all bytes) of the running Python's library, without tests.

    Packages and modules follow one another by the hashes of their names; the first ones are held out.
    """
    root = Path(sysconfig.get_path("stdlib"))
    without = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
    packages: dict[str, bytes] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not without & set(name.parts) and not name.name.startswith("_sysconfigdata"):  # (that one is the machine's)
            packages[name.parts[0]] = packages.get(name.parts[0], b"") + path.read_bytes()
    order = sorted(packages, key=lambda name: hashlib.sha256(name.encode()).digest())
    ends = np.cumsum([len(packages[name]) for name in order])
    count = int(np.searchsorted(ends, ends[-1] / 10)) + 1
    return b"".join(packages[name] for name in order[count:]), b"".join(packages[name] for name in order[:count])


def coders(learnt: bytes, files: list[str], sizes: list[int]) -> list:
    """BPEs: of files of lem-encode, and fitted to what is learnt."""
    from lemtools.encode import load
    from lemtools.encode.text import Text

    found = [load(file) for file in files]
    for file, coder in zip(files, found, strict=True):
        if not isinstance(coder, Text):
            raise LemError(f"--codec {file}: {coder.name}, where a BPE of lem-encode --encoder text is needed")
    text = Signal("tokens", np.frombuffer(learnt, np.uint8)[None])
    return found + [Text.fit(lambda: [text], vocab=size)[0] for size in sizes]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("source", choices=("text", "stdlib", "dna", "markov"))
    made.add_argument("files", nargs="*", metavar="FILE")
    made.add_argument(
        "--held", nargs="+", default=[], metavar="FILE", help="what is measured, in place of the last tenth"
    )
    made.add_argument("--longest", type=int, default=6, help="symbols of the longest context of n-grams [%(default)s]")
    made.add_argument("--codec", nargs="+", default=[], metavar="FILE", help="BPEs of lem-encode")
    made.add_argument(
        "--vocab", nargs="+", type=int, default=[], metavar="V", help="sizes of BPEs fitted to the learnt part"
    )
    made.add_argument("--skip-others", action="store_true", help="leave out what is not A, C, G or T, such as N")
    made.add_argument("--orders", nargs="+", type=int, default=[2, 11, 16], help="of the model of DNA [2 11 16]")
    made.add_argument("--kinds", type=int, default=16, help="symbols of the Markov source [%(default)s]")
    made.add_argument("--order", type=int, default=2, help="symbols that its next one depends on [%(default)s]")
    made.add_argument(
        "--spread", type=float, default=0.2, help="parameter of Dirichlet's table, small: sure [%(default)s]"
    )
    made.add_argument("--length", type=int, default=1_000_000, help="symbols of it [%(default)s]")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--parts", metavar="DIR", help="write both parts there")
    return made


def table(asked: argparse.Namespace) -> Rows:
    """All rows for what the command asks for."""
    files, source = asked.source in ("text", "dna"), None
    if bool(asked.files) != files or (asked.held and not files):
        raise LemError(f"{asked.source}: {'which FILE?' if files else 'it takes no FILE'}")
    if asked.longest < 0 or not all(1 <= order <= 16 for order in asked.orders):
        raise LemError("--longest is 0 or more, --orders are 1 to 16")
    if asked.source == "stdlib":
        learnt, held = stdlib()
        yield f"Python {platform.python_version()}, bytes in all", len(learnt) + len(held)
    elif asked.source == "markov":
        source = Markov(asked.kinds, asked.order, asked.spread, asked.seed)
        sample = source.sample(asked.length)
        learnt, held = split(SYMBOLS[sample].tobytes())
    else:
        learnt, held = (read(asked, files) for files in (asked.files, asked.held))
        learnt, held = (learnt, held) if asked.held else split(learnt)
    if not learnt or not held:
        raise LemError(
            f"{', '.join(asked.files) or asked.source}: {len(learnt)} learnt and {len(held)} held out; nothing to measure"
        )
    if asked.parts:
        Path(asked.parts).mkdir(parents=True, exist_ok=True)
        for name, part in (("learnt", learnt), ("held", held)):
            (Path(asked.parts) / f"{name}.txt").write_bytes(part)
    yield "learnt", len(learnt)
    yield "held out", len(held)
    if source:
        yield "entropy rate, exact", source.rate
        yield "its own table", source.bits(*np.split(sample, [len(learnt)])) / len(held)
    if asked.source == "dna":
        yield from of_bases(learnt, held, asked.longest, tuple(asked.orders))
    else:
        made = coders(learnt, asked.codec, asked.vocab) if asked.codec or asked.vocab else []
        yield from of_bytes(learnt, held, asked.longest, made)


def main(words: list[str] | None = None) -> int:
    try:
        for name, value in table(parser().parse_args(words)):
            print(name, value if isinstance(value, int) else f"{value:.4f}", sep="\t", flush=True)
    except (LemError, OSError, EOFError) as error:
        print(f"learned_controls.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it silently
    sys.exit(main())
