"""What the results of learned_encodings.py say: arms at equal stored bits, by how much they differ, predictions, a picture.

A result is one model: arm (ARM-RATIO), seed, each (bits of every window as trained), sizes (bytes), passages (which of them a
window is of), line (its envelope: bits, loss, chosen, each).

Intervals are 95 %, by a bootstrap that draws seeds and passages, the same of both arms (Owen 2007, The pigeonhole bootstrap). Seeds are
few: drawn as they are, five of them give .63 of Student's interval, three .37; so what a draw of seeds differs by from all of them counts
as much more. Of one seed they have no spread of seeds in them.

By itself, `python learned_table.py`, it prints what needs no run: the size of a table and of a cache of attention.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lemtools.compare.summary import student_t
from lemtools.rng import generator
from lemtools.signal import LemError

SIZES = 8  # of the table
DRAWS = 10_000  # of the bootstrap
TAB = "\t"

VOCABULARY, WIDTH, LAYERS = 50_000, 4096, 32  # of a large network, of which sizes are computed

Arms = dict[str, dict[int, dict]]


def point(p: Any) -> dict:
    """One point of an envelope, as it is kept."""
    return {"bits": p.bits, "learnt": p.learnt, "loss": p.loss, "chosen": p.chosen, "each": p.each.tolist()}


def by_arms(results: list[dict]) -> Arms:
    """{arm: {seed: result}}. LemError where they are not of one text, or there is no full table."""
    if len(texts := {result["data"] for result in results}) > 1:
        raise LemError(f"models of {len(texts)} texts ({', '.join(sorted(texts))}); arms are compared on one")
    arms: Arms = {}
    for result in results:
        arms.setdefault(result["arm"], {})[result["seed"]] = result
    if "full" not in arms:
        raise LemError("no result of the full table, with which all others are compared; first train and search")
    return arms


def best(result: dict, bits: float) -> dict | None:
    """What an envelope has within so many bits: the last that fits, which the learnt text takes fewest bits by."""
    return max((p for p in result["line"] if p["bits"] <= bits), key=lambda p: p["bits"], default=None)


def bootstrap(
    a: list[list[float]], b: list[list[float]], one: dict, share: bool = False, many: int = DRAWS
) -> tuple[float, float, float]:
    """(difference of a from b, low, high) in bits a byte, or as a share of b. a, b: bits [seeds, windows]; one: a result, of whose
    windows these are."""
    which = np.unique(one["passages"], return_inverse=True)[1]
    first, second = (np.stack([np.bincount(which, row) for row in rows]) for rows in (a, b))  # [S, P]
    sizes = np.bincount(which, one["sizes"])
    draws, (count, passages) = generator(0, 0, 0, "learned encodings"), first.shape
    rows = 1 / count + few(count) * (draws.multinomial(count, np.full(count, 1 / count), many) - 1) / count
    columns = draws.multinomial(passages, np.full(passages, 1 / passages), many)

    def apart(seeds: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        other = ((seeds @ second) * drawn).sum(1)
        return (((seeds @ first) * drawn).sum(1) - other) / (other if share else drawn @ sizes)

    mean = apart(np.full((1, count), 1 / count), np.ones((1, passages)))
    return (float(mean[0]), *np.quantile(apart(rows, columns), (0.025, 0.975)).tolist())


def few(count: int) -> float:
    """By how much draws of so few seeds are spread, so that they are as wide as Student's interval: t / z sqrt(n / (n - 1))."""
    return student_t(0.95, count - 1) / 1.96 * (count / (count - 1)) ** 0.5 if count > 1 else 1.0


def compared(
    arms: Arms, arm: str, bits: float, other: str = "full", draws: int = DRAWS
) -> tuple[float, float, float] | None:
    """By how much an arm differs from another at a size. None where one of the two does not fit."""
    seeds = sorted(set(arms[arm]) & set(arms[other]))
    pairs = [(best(arms[arm][s], bits), best(arms[other][s], bits)) for s in seeds]
    if not seeds or any(p is None for pair in pairs for p in pair):
        return None
    a, b = ([p["each"] for p in each] for each in zip(*pairs, strict=True))
    return bootstrap(a, b, arms[other][seeds[0]], many=draws)


def trained(arms: Arms, arm: str, other: str) -> tuple[float, float, float] | None:
    """By which share an arm differs from another as they were trained, in float32. None where one of the two is not there."""
    seeds = sorted(set(arms.get(arm, {})) & set(arms.get(other, {})))
    if not seeds:
        return None
    a, b = ([arms[name][s]["each"] for s in seeds] for name in (arm, other))
    return bootstrap(a, b, arms[other][seeds[0]], share=True)


def said(found: tuple[float, float, float] | None, scale: float = 1, unit: str = "") -> str:
    if found is None:
        return "-"
    mean, low, high = (scale * value for value in found)
    return f"{mean:+.3f}{unit}, {low:+.3f} to {high:+.3f}"


def common(arms: Arms) -> np.ndarray:
    """Sizes that are the same for all: from where the full table begins, or less, to the most that any arm has. A network that keeps
    nothing but draws is no beginning."""
    every = [result for runs in arms.values() for result in runs.values()]
    least = max(map(begun, arms["full"].values()))
    smallest = min(map(begun, every))
    most = max(r["line"][-1]["bits"] for r in every)
    return np.unique(np.geomspace(min(smallest, least), most, SIZES).round().astype(int))


def begun(result: dict) -> int:
    """Bits of the first point at which some part is not as it was drawn."""
    points = result["line"]
    kept = (p for p in points if not p["chosen"] or set(p["chosen"].values()) - {"", "drawn"})
    return next(kept, points[-1])["bits"]


def table(results: list[dict], predicted: bool = False) -> Iterator[str]:
    """Of every arm, over seeds: as trained, in float32; then at each size the best, and how far it is from full. predicted:
    whether this is the case that predictions are of, so that they are settled by it."""
    arms = by_arms(results)
    one, sizes = results[0], common(arms)
    yield f"data of all arms\t{one['data']}"
    yield f"windows, in so many passages\t{len(one['sizes'])}\t{len(set(one['passages']))}"
    yield f"seconds of the search, a model\t{np.mean([r['seconds'] for r in results if 'seconds' in r] or [0]):.1f}"
    yield f"bits a {one['unit']}; in brackets, less full's at the same stored bits, with its interval"
    beyond = ["other text"] if any("other" in r for r in results) else []
    kilo = [f"{size / 8e3:.0f} kB" for size in sizes]
    yield "\t".join(["arm-ratio", "seeds", "as trained", *beyond, *kilo, "ends at"])
    for arm, runs in arms.items():
        cells = [f"{np.mean([run['as_trained'] for run in runs.values()]):.3f}"]
        cells += [f"{np.mean([run['other'] for run in runs.values()]):.3f}"] if beyond else []
        cells += [cell(arms, arm, size) for size in sizes]
        ends = sorted({end.split(",")[0] for run in runs.values() for end in run["ends"].split(" and ")} - {""})
        yield "\t".join([arm, str(len(runs)), *cells, " and ".join(ends) or "no end of the search"])
    yield from (
        f"{arm} ahead of full, interval clear of zero\t{spans}"
        for arm in arms
        if arm != "full" and (spans := ahead(arms, arm))
    )
    yield from (line if predicted else unsettled(line) for line in predictions(arms, sizes))


def ahead(arms: Arms, arm: str) -> str:
    """Between which kB an arm is ahead of full, in brackets by how much at most: asked at every size at which one of the envelopes has a
    point, since steps of one of them are between those sizes that the table has."""
    runs = [*arms[arm].values(), *arms["full"].values()]
    ends = sorted({p["bits"] for run in runs for p in run["line"]})
    found: list[list[float]] = []
    for bits, end in zip(ends, [*ends[1:], np.inf], strict=True):
        apart = compared(arms, arm, bits, draws=2000) if before(arms, arm, bits) else None
        if apart is None or apart[2] >= 0:
            continue
        if found and found[-1][1] == bits:
            found[-1][1:] = [end, min(found[-1][2], apart[0])]
        else:
            found.append([bits, end, apart[0]])
    return ", ".join(f"{a / 8e3:.1f} to {b / 8e3:.1f} kB ({most:+.3f})" for a, b, most in found).replace(
        "to inf kB", "on"
    )


def before(arms: Arms, arm: str, bits: float) -> bool:
    """Whether an arm's mean is less than full's; only then its interval is worth drawing."""
    means = [[p["loss"] if (p := best(run, bits)) else np.inf for run in arms[name].values()] for name in (arm, "full")]
    return bool(np.mean(means[0]) < np.mean(means[1]))


def cell(arms: Arms, arm: str, size: float) -> str:
    there = [best(run, size) for run in arms[arm].values()]
    if None in there:
        return "-"
    apart = None if arm == "full" else compared(arms, arm, size)
    return f"{np.mean([p['loss'] for p in there]):.3f}" + ("" if apart is None else f" ({said(apart)})")


def predictions(arms: Arms, sizes: np.ndarray) -> Iterator[str]:
    """What was predicted of 16,384 tokens of WikiText, and what these models say of it."""
    small, drawn = trained(arms, "learned-8", "full"), trained(arms, "random-1", "learned-1")
    yield f"predicted: learned-8 costs less than 1 % of full\t{said(small, 100, ' %')}\t{verdict(small, -np.inf, 0.01)}"
    yield f"predicted: random-1 within 3 % of learned-1\t{said(drawn, 100, ' %')}\t{verdict(drawn, -0.03, 0.03)}"
    rivals = [arm for arm in arms if arm.removeprefix("learned-").isdigit()]
    for size in sizes:
        there = [
            (arm, apart)
            for arm in rivals
            if "trellis" in arms and (apart := compared(arms, "trellis", size, arm)) is not None
        ]
        if there:
            arm, apart = max(there, key=lambda found: found[1][0])
            yield (
                f"predicted: trellis below every learned arm at {size / 8e3:.0f} kB, nearest {arm}"
                f"\t{said(apart)}\t{verdict(apart, -np.inf, 0)}"
            )


def unsettled(line: str) -> str:
    """The same numbers, of another case than predicted: no verdict."""
    return f"{line.rpartition(TAB)[0]}{TAB}of another case"


def verdict(found: tuple[float, float, float] | None, low: float, high: float) -> str:
    """Whether an interval lies within two limits, outside, or across one."""
    if found is None:
        return "not measured"
    if low < found[1] and found[2] < high:
        return "confirmed"
    return "refuted" if found[1] > high or found[2] < low else "open"


def by_steps(logs: dict[str, Path], runs: int) -> Iterator[str]:
    """How fast each arm learns: bits of what is kept back at checkpoints, the mean over seeds; in brackets less full's of the same seeds, with
    half of the 95 % t-interval over seeds."""
    rows: dict[str, dict[int, float]] = {}
    seeds: dict[str, dict[int, dict[str, float]]] = {}
    for name, log in logs.items():
        for record in map(json.loads, log.read_text().splitlines() if log.exists() else []):
            for unit in ("byte", "base"):
                key = f"held_out_bits_per_{unit}"
                if (value := record.get(key)) is not None:
                    rows.setdefault(name, {})[record["step"]] = value
                    each = {k: v for k, v in record.items() if k.startswith(f"{key}_")}
                    seeds.setdefault(name, {})[record["step"]] = each
    steps = sorted({step for row in rows.values() for step in row})
    yield "\t".join([f"kept back, by updates, mean of {runs}", *map(str, steps)])
    for name, row in rows.items():
        cells = []
        for step in steps:
            less = paired(seeds[name].get(step, {}), seeds.get("full", {}).get(step, {})) if name != "full" else ""
            cells.append(f"{row[step]:.3f}{less}" if step in row else "-")
        yield "\t".join([name, *cells])


def while_learning(logs: dict[str, Path], runs: int) -> Iterator[str]:
    """Bits of what is learnt from, each the mean of the updates since the one before, and over seeds: the same batches for all arms (of joint, with the
    autoencoder's loss)."""
    rows: dict[str, dict[int, float]] = {}
    for name, log in logs.items():
        records = map(json.loads, log.read_text().splitlines() if log.exists() else [])
        if found := {record["step"]: record["loss"] for record in records if "loss" in record}:
            rows[name] = found
    steps = sorted({step for row in rows.values() for step in row})
    yield "\t".join([f"learnt from, by updates, mean of {runs}", *map(str, steps)])
    for name, row in rows.items():
        yield "\t".join([name, *(f"{row[step]:.3f}" if step in row else "-" for step in steps)])


def paired(one: dict[str, float], other: dict[str, float]) -> str:
    """Mean difference over the seeds that both have, and half of its interval; nothing of fewer than two."""
    gaps = np.array([one[seed] - other[seed] for seed in one if seed in other])
    if len(gaps) < 2:
        return ""
    return f" ({gaps.mean():+.3f} \u00b1 {student_t(0.95, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5:.3f})"


def other(path: Path) -> str:
    """Controls on the other text, named as such."""
    return "".join(f"other text: {line}\n" for line in path.read_text().splitlines())


def picture(results: list[dict], controls: Path, out: Path) -> None:
    """Bits a byte against stored bits, a line an arm and ratio, the mean over seeds; controls are horizontal lines. Of an arm the least
    ratio, 8, and the greatest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms, kinds = by_arms(results), {}
    for arm in arms:
        kind, _, ratio = arm.rpartition("-") if arm[-1].isdigit() else (arm, "", "1")
        kinds[arm] = kind, int(ratio)
    ends = {kind: sorted(r for k, r in kinds.values() if k == kind) for kind, _ in kinds.values()}
    arms = {
        arm: runs for arm, runs in arms.items() if kinds[arm][1] in (ends[kinds[arm][0]][0], 8, ends[kinds[arm][0]][-1])
    }
    colours = {kind: plt.get_cmap("tab20" if len(ends) > 10 else "tab10")(i) for i, kind in enumerate(ends)}
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    named: set[str] = set()
    for arm, runs in arms.items():
        every = sorted({p["bits"] for run in runs.values() for p in run["line"]})
        there = [[best(run, bits) for run in runs.values()] for bits in every]
        shown = [(b / 8e3, np.mean([p["loss"] for p in ps])) for b, ps in zip(every, there) if None not in ps]
        kind, ratio = kinds[arm]
        label = None if kind in named else kind
        named.add(kind)
        style = {
            "linewidth": 2.5 if arm == "full" else 1,
            "linestyle": "-" if ratio == 1 else "--" if ratio == 8 else ":",
        }
        axes.plot(*zip(*shown), color=colours[kind], label=label, drawstyle="steps-post", **style)
        if ratio > 1:
            axes.annotate(str(ratio), shown[-1], color=colours[kind], fontsize=7)
    high = max(p["loss"] for r in results for p in r["line"])
    close: list[list[tuple[str, float]]] = []  # whose names would lie on one another
    for name, value in sorted(lines_of(controls, high), key=lambda line: line[1]):
        axes.axhline(value, color="grey", linewidth=0.8, linestyle="--")
        if not close or value - close[-1][0][1] > high / 40:
            close.append([])
        close[-1].append((name, value))
    for lines in close:
        name = ", ".join(f"{name} {value:.2f}" for name, value in lines)
        axes.annotate(name, (0.005, lines[-1][1]), xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
    axes.set(
        xscale="log", xlabel="stored kB of embedding, up-projection and head", ylabel=f"bits a {results[0]['unit']}"
    )
    axes.set_xlim(left=min(begun(run) for runs in arms.values() for run in runs.values()) / 8e3 / 1.3)
    axes.legend(fontsize=8)
    part = out.with_suffix(".part")
    figure.savefig(part, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    part.replace(out)


def lines_of(controls: Path, high: float) -> list[tuple[str, float]]:
    """Those controls that are bits, and cost no more than the worst that is shown; of n-grams the best of each kind."""
    found: dict[str, float] = {}
    for name, value in (line.split("\t") for line in controls.read_text().splitlines()):
        kind = name.partition("Witten-Bell")
        short = kind[0] + "Witten-Bell, best" if kind[1] else name
        counts = any(word in name for word in ("share", "bytes", "learnt", "held out")) and "mixed" not in name
        if not counts:
            found[short] = min(float(value), found.get(short, np.inf))
    return [(name, value) for name, value in found.items() if value <= high]


def megabytes(ratio: int, bits: int) -> float:
    """MB (10^6 bytes) of a table of codes and its up-projection, at so many bits a number; scales and codebooks come on top."""
    dims = WIDTH // ratio
    return bits * (VOCABULARY * dims + (dims * WIDTH if ratio > 1 else 0)) / 8e6


def sizes() -> Iterator[str]:
    """A table at each ratio and number of bits, and what a token takes in the cache of keys and values."""
    every = (32, 16, 8, 4, 2)
    yield "\t".join([f"{VOCABULARY} x {WIDTH}, MB at bits", *map(str, every)])
    for ratio in (1, 2, 4, 8, 16, 32, 64):
        yield "\t".join([f"ratio {ratio}", *(f"{megabytes(ratio, bits):.1f}" for bits in every)])
    yield f"MB of keys and values, a token, {LAYERS} layers at 16 bits, at every ratio\t{2 * LAYERS * WIDTH * 16 / 8e6:.3f}"


if __name__ == "__main__":
    print(*sizes(), sep="\n")
