"""How much of a text with gaps comes back: by a language model and by counts, from both sides and from the left alone.

    texts.py MODEL MEMORY TEXT [--pieces N] [--skip N] [--length N] [--gaps L ...] [--beam B ...] [--right R] [--order N]

MODEL is lem-train lm's, of bytes; MEMORY the text that it learnt from, which is counted; of TEXT so many pieces are taken, evenly spaced,
from the beginning of a line on. Of each a share of .2 is lost in gaps of L bytes, as lem-fragment --mask .2 --mask-shape span:L takes them.

Rows: the share of lost bytes that come back, as mean over pieces and its 95 % interval, for every length of gap; and what
is won over n-grams from both sides, piece by piece.

    majority            the byte that the memory has most often
    copy                what followed the last place in the memory or in the text before where the longest end of what stands
                        before the gap stood, up to 32 bytes of it
    n-grams, left       the likeliest byte after those before it, one after another (Witten and Bell)
    n-grams             lem-reconstruct --method ngram
    model, left         lem-reconstruct --method fill --right 0, with the first number of guesses
    model, B guesses    lem-reconstruct --method fill --right R --beam B

Then bits that a lost byte costs where it is the only one, -log2 p(byte | left, right), at every 25th place: by the n-grams, exactly; by
the model with all 256 guesses, exactly but for what stands more than R bytes behind.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch

from lemtools.compare.summary import mean_interval
from lemtools.fragment import fragment
from lemtools.reconstruct.counting import Counter
from lemtools.reconstruct.filling import Filler, Guesses
from lemtools.restore.ngram import NGram, log_p
from lemtools.signal import LemError, Signal

LONGEST, APART = 32, 25


def pieces(text: np.ndarray, count: int, length: int) -> np.ndarray:
    """uint8 [N, length], evenly spaced, each from the beginning of a line on."""
    found = []
    for start in range(0, len(text) // count * count, max(len(text) // count, 1)):
        line = start + int(np.argmax(text[start:] == 10)) + 1
        found.append(text[line : line + length])
    if len(found) != count or any(len(piece) < length for piece in found):
        raise LemError(f"a text of {len(text)} bytes has no {count} pieces of {length} that begin with a line")
    return np.stack(found)


def each_gap(known: np.ndarray) -> Iterator[tuple[int, int]]:
    """(begin, end) of every run of lost places."""
    yield from np.flatnonzero(np.diff(known.astype(int), prepend=1, append=1)).reshape(-1, 2).tolist()


def copied(memory: bytes, tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gaps filled by what followed earlier."""
    made = tokens.astype(np.uint8)
    for begin, end in each_gap(known):
        before = memory + made[:begin].tobytes()
        for count in range(min(LONGEST, begin), -1, -1):
            place = before.rfind(before[len(before) - count :], 0, len(before) - 1)
            if place >= 0:
                break
        follows = before[place + count :]
        made[begin:end] = np.resize(np.frombuffer(follows, np.uint8), end - begin)
    return made


def from_the_left(model: NGram, tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gaps filled by the likeliest byte after those before it."""
    made = tokens.copy()
    for begin, end in each_gap(known):
        for place in range(begin, end):
            made[place] = model.after(model.at(made[:place]))[0].argmax()
    return made


def shares(signal: Signal, answer: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Share [N] of the lost bytes that are right."""
    lost = signal.observed() == 0
    return ((answer == whole) & lost).sum(1) / lost.sum(1)


def answers(asked: argparse.Namespace, memory: np.ndarray, left: Signal) -> Iterator[tuple[str, np.ndarray]]:
    """Every method's name and its tokens [N, T]."""
    known, tokens, counts = left.observed() != 0, left.data.astype(np.int64), Counter([memory], order=asked.order)
    rows = list(zip(tokens, known, strict=True))
    yield "majority", np.where(known, tokens, np.bincount(memory).argmax())
    yield "copy", np.stack([copied(memory.tobytes(), *row) for row in rows])
    yield "n-grams, left", np.stack([from_the_left(counts.model, *row) for row in rows])
    yield "n-grams", counts(left)[0].data
    yield "model, left", Filler(asked.model, beam=asked.beam[0], right=0)(left)[0].data
    for beam in asked.beam:
        yield f"model, {beam} guesses", Filler(asked.model, beam=beam, right=asked.right)(left)[0].data


@torch.inference_mode()
def bits_by_model(fill: Filler, tokens: np.ndarray, place: int, right: int) -> float:
    """Bits of the byte at a place, with `right` bytes behind it."""
    guesses = Guesses(fill.reader(tokens[None, :place]), fill.net.vocabulary)
    guesses.grow()
    stands = guesses.reader.tokens[:, -1].cpu().numpy()
    guesses.read(tokens[place + 1 : place + 1 + right])
    weights = guesses.weights - np.logaddexp.reduce(guesses.weights)
    return float(-weights[stands == tokens[place]][0] / np.log(2))


def bits_by_counts(model: NGram, tokens: np.ndarray, place: int, right: int) -> float:
    """The same; of these counts more than their order behind it say nothing."""
    begin, end = max(place - model.order, 0), min(place + 1 + right, len(tokens))
    part, known = tokens[begin:end], np.ones(end - begin, bool)
    known[place - begin] = False
    return float((log_p(model, part, known) - log_p(model, part, ~np.zeros(end - begin, bool))) / np.log(2))


def table(asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    memory, text = (np.fromfile(path, np.uint8) for path in (asked.memory, asked.text))
    whole = pieces(text, asked.pieces + asked.skip, asked.length)[asked.skip :]
    yield "", "share of lost bytes right", "low", "high", "more than n-grams", "low", "high"
    for gap in asked.gaps:
        (left,) = fragment([Signal("tokens", whole)], [{"op": "mask", "mask": 0.2, "shape": f"span:{gap}"}], 0)
        found = {name: shares(left, made, whole) for name, made in answers(asked, memory, left)}
        for name, share in found.items():
            numbers = [*mean_interval(share), *mean_interval(share - found["n-grams"])]
            yield f"gaps of {gap}: {name}", *(f"{n:.3f}" for n in numbers if n is not None)
    yield "", "bits a lost byte", "low", "high"
    fill, counts = Filler(asked.model), NGram([memory], 256, asked.order)
    ways = {"n-grams, left": (bits_by_counts, counts, 0), "n-grams": (bits_by_counts, counts, asked.order)}
    ways |= {"model, left": (bits_by_model, fill, 0), "model": (bits_by_model, fill, asked.right)}
    for name, (bits, how, right) in ways.items():
        each = [[bits(how, row.astype(np.int64), k, right) for k in range(64, len(row) - 64, APART)] for row in whole]
        yield f"a byte alone: {name}", *(f"{n:.3f}" for n in mean_interval(np.array(each).mean(1)) if n is not None)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("memory", metavar="MEMORY")
    made.add_argument("text", metavar="TEXT")
    made.add_argument("--pieces", type=int, default=12, help="[%(default)s]")
    made.add_argument("--skip", type=int, default=0, help="of so many more those before are left out [%(default)s]")
    made.add_argument("--length", type=int, default=400, help="bytes of a piece [%(default)s]")
    made.add_argument("--gaps", type=int, nargs="+", default=[1, 4, 16], help="bytes of a gap [1 4 16]")
    made.add_argument("--right", type=int, default=8, help="bytes behind a gap that the model reads [%(default)s]")
    made.add_argument("--beam", type=int, nargs="+", default=[32, 256], help="guesses [32 256]")
    made.add_argument("--order", type=int, default=5, help="bytes before that n-grams go by [%(default)s]")
    return made


def main(words: list[str] | None = None) -> int:
    try:
        for row in table(parser().parse_args(words)):
            print(*row, sep="\t", flush=True)
    except (LemError, OSError) as error:
        print(f"texts.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
