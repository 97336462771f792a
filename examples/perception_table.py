"""What examples/perception.sh prints and draws of what perception.py measured: perception_table.tables.

Shares are means over items and seeds. Intervals are 95 %: of shares over items, by Student's t of the differences item by item, each the mean
over seeds; of rank correlations by 2,000 draws with replacement, of items, the same in all conditions, and of conditions. What a constant makes undefined
is a blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lemtools.compare.correlation import pearson, ranks
from lemtools.compare.summary import mean_interval

DRAWS = 2000
MOST = 100.0  # dB; an item that came back exactly counts as this
LINES = ("decoded", "recalled", "remembered", "opus", "vorbis", "jpeg", "webp")  # what the picture shows by bits
TICKS = (0.1, 0.2, 0.5, 1, 2, 4, 8)


@dataclass
class Measured:
    """Of a task. conditions: the first is whole. right: by arm, [conditions, items], shares over seeds; same: of the judge of whole memories,
    whether it says the same as of the original; deep: its cosine; bits [conditions]; errors: by metric, [conditions, items], higher is better;
    whole has none."""

    conditions: list[str]
    right: dict[str, np.ndarray]
    same: np.ndarray
    deep: np.ndarray
    bits: np.ndarray
    errors: dict[str, np.ndarray]

    @classmethod
    def read(cls, which: Any, folder: Path, task: str) -> Measured:
        found = {arm: np.load(folder / f"judged/{task}-{arm}.npz") for arm in which.arms if there(folder, task, arm)}
        names = found["whole"]["conditions"].tolist()
        classes = found["whole"]["classes"]
        stored = [np.load(folder / f"conditions/{name}.npz") for name in names[1:]]
        errors = {}
        for metric in (name for name in stored[0].files if name != "bits"):
            values = np.minimum([each[metric] for each in stored], MOST)
            errors[metric] = -values if metric == "lsd" else values
        return cls(
            names,
            {arm: (each["classes"] < 0).mean(0) for arm, each in found.items()},
            (classes == classes[:, :1]).mean(0),
            found["whole"]["deep"],
            np.array([float(each["bits"]) for each in stored]),
            errors,
        )

    def share(self, arm: str, condition: str, against: str = "whole") -> str:
        """The share that judges of this arm know, and how many more that is than those of `against` know of the originals."""
        found = self.right[arm][self.conditions.index(condition)]
        change, low, high = mean_interval(found - self.right[against][0])
        return f"{found.mean():.3f} ({change:+.3f} [{low:+.3f}, {high:+.3f}])"


def there(folder: Path, task: str, arm: str) -> bool:
    return (folder / f"judged/{task}-{arm}.npz").exists()


def tables(sets: list[Any], out: Path) -> None:
    """Print all tables of what is there, and draw the picture OUT/perception.png."""
    lines = []
    for which in sets:
        for task in which.tasks:
            if there(out / which.name, task, "whole"):
                found = Measured.read(which, out / which.name, task)
                print(f"\n{which.name}, {task}: {found.deep.shape[1]} items\n")
                every_condition(found)
                arms(found)
                correlations(found)
                lines.append((f"{which.name}, {task}", found))
    if lines:
        draw(lines, out / "perception.png")


def every_condition(found: Measured) -> None:
    metrics = list(found.errors)
    print(f"| | bits a value | {' | '.join(metrics)} | deep | agreement | judged (change) |")
    print("|---" * (len(metrics) + 5) + "|")
    for k, name in enumerate(found.conditions):
        cells = ["", *("" for _ in metrics)]
        if k:
            cells = [f"{found.bits[k - 1]:.2f}", *(f"{abs_(m, e[k - 1].mean()):.2f}" for m, e in found.errors.items())]
        deep, same = found.deep[k].mean(), found.same[k].mean()
        print(f"| {name} | {' | '.join(cells)} | {deep:.3f} | {same:.3f} | {found.share('whole', name)} |")


def abs_(metric: str, value: float) -> float:
    """A metric as it is printed, where the sign was turned."""
    return -value if metric == "lsd" else value


def arms(found: Measured) -> None:
    """Judges that learnt from something else, by what they are shown; the change is that to the untouched judge of originals."""
    shown = [
        name for name in found.conditions if name in ("whole", *(f"{how}-{b}" for b in (1, 2, 4) for how in LINES[:3]))
    ]
    print(f"\n| learnt from | {' | '.join(shown)} |\n{'|---' * (len(shown) + 1)}|")
    for arm in found.right:
        print(f"| {arm} | {' | '.join(found.share(arm, name) for name in shown)} |")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """nan where one of them is constant."""
    return float(pearson(ranks(x)[:, None], ranks(y)[:, None])[0])


def number(value: float) -> str:
    """A blank for what is not defined."""
    return "" if np.isnan(value) else f"{value:.3f}"


def interval(values: np.ndarray) -> str:
    """Of the draws in which a number is defined; a blank where that is less than 95 % of them."""
    known = values[~np.isnan(values)]
    if len(known) < 0.95 * len(values):
        return ""
    low, high = np.percentile(known, [2.5, 97.5])
    return f"[{low:+.3f}, {high:+.3f}]"


def correlations(found: Measured) -> None:
    """Spearman over conditions of judged with each metric; deep's less the others', with intervals over items and over conditions."""
    judged = found.right["whole"][1:]
    metrics = {"deep": found.deep[1:], "agreement": found.same[1:], **found.errors}
    count, size = judged.shape
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, size, size) for _ in range(DRAWS)]
    columns = [rng.integers(0, count, count) for _ in range(DRAWS)]

    def drawn(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        over_items = [spearman(judged[:, row].mean(1), values[:, row].mean(1)) for row in rows]
        means = judged.mean(1), values.mean(1)
        return np.array(over_items), np.array([spearman(means[0][column], means[1][column]) for column in columns])

    deep = drawn(metrics["deep"])
    print(
        f"\n| metric | Spearman with judged over {count} conditions | deep's less this, over items | over conditions |\n|---|---|---|---|"
    )
    print(f"| bits a value | {number(spearman(judged.mean(1), found.bits))} | | |")
    for name, values in metrics.items():
        cells = ["", ""]
        if name != "deep":
            cells = [interval(one - other) for one, other in zip(deep, drawn(values))]
        print(f"| {name} | {number(spearman(judged.mean(1), values.mean(1)))} | {cells[0]} | {cells[1]} |")


def draw(lines: list[tuple[str, Measured]], path: Path) -> None:
    """Judged against bits, a panel a task."""
    try:
        import matplotlib
    except ImportError:
        print("\nno picture: pip install '.[plot]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(lines), figsize=(3.6 * len(lines), 3.2), squeeze=False, layout="constrained"
    )
    for panel, (title, found) in zip(panels[0], lines):
        judged = found.right["whole"].mean(1)
        for k, how in enumerate(LINES):
            some = [i for i, name in enumerate(found.conditions) if name.startswith(how + "-")]
            some.sort(key=lambda i: found.bits[i - 1])
            if some:
                panel.plot(found.bits[np.array(some) - 1], judged[some], ".-", color=f"C{k}", label=how)
        panel.axhline(judged[0], color="grey", lw=0.8, ls=":")
        panel.set(title=title, xlabel="bits a value", xscale="log", ylim=(0, 1))
        panel.set_xticks(TICKS, map(str, TICKS))
        panel.minorticks_off()
        panel.legend(fontsize=7)
    panels[0][0].set_ylabel("judged right, judge as it is")
    figure.savefig(path, dpi=110)
