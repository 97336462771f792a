"""What a latent space that two spaces share adds to a linear map: lem-train translate with vectors that have no partners, its losses one
by one, and its controls.

python translate_latent.py OUT [--quick | --again] [--device cuda] [--draws N]
                        latent.jsonl, a line for each setting, arm and draw; latent.md. --quick: one draw, without the arms that leave
                        a loss out. --again: latent-again.jsonl and latent-again.md, of other held-out items (translate.py)
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from lemtools import encode
from lemtools.signal import Signal
from lemtools.train.loop import train
from lemtools.train.settings import Settings
from resume import keep, resumed
from translate import AGAIN, HELD, interval, load, matched, named, scored, short
from translate_few import DRAWS, HEADLINE, TEXTS, sides

STEPS, RATE = 200, 5e-4
ARMS = {  # arm: what is set, and what is done to B or to the pairs before
    "the linear map it begins as": ({}, "start"),
    "all losses": ({}, None),
    "without neighbours": ({"neighbours": 0}, None),
    "without cycles": ({"cycle": 0}, None),
    "without cosines among a batch": ({"similar": 0}, None),
    "without residuals": ({"depth": 0}, None),
    "with sliced Wasserstein distances": ({"spread": 1}, None),
    "these for neighbours": ({"spread": 1, "neighbours": 0}, None),
    "from drawn matrices": ({"start": "none"}, None),
    "shuffled pairs": ({}, "shuffled"),
    "Gaussian for B": ({}, "gaussian"),
}
QUICK = ("the linear map it begins as", "all losses", "shuffled pairs", "Gaussian for B")
NONE = (
    "the linear map it begins as",
    "all losses",
    "with sliced Wasserstein distances",
    "from drawn matrices",
    "Gaussian for B",
)
SETTINGS = {  # of items: {setting: (column, pairs, whether the items are the same on both sides)}
    **{f"{column}, {HEADLINE[of[0]]} pairs": (column, HEADLINE[of[0]], False) for column, of in TEXTS.items()},
    "sentences, no pairs, the same in another order": ("sentences, wordllama 256 to MiniLM 384", 0, True),
    "sentences, no pairs, others on each side": ("sentences, wordllama 256 to MiniLM 384", 0, False),
    "words, GloVe 100 to MiniLM 384, no pairs, the same in another order": ("words, GloVe 100 to MiniLM 384", 0, True),
}


def measured(data: dict, setting: tuple, arm: str, draw: int, device: str) -> dict:
    """top-1 and with CSLS of the held-out items, and the half of the interval of the first over items."""
    column, pairs, same = setting
    items, *names = TEXTS[column]
    x, y = (data[name].astype(np.float32) for name in names)
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    rng = np.random.default_rng([draw, 1])
    known, *more = sides(rest, pairs, same, rng)
    chosen, done = ARMS[arm]
    if done == "gaussian":
        y = matched(y, rng).astype(np.float32)
    partner = rng.permutation(known) if done == "shuffled" else known
    with tempfile.TemporaryDirectory() as folder:
        settings = written(Path(folder), x, y, known, partner, more, chosen, draw, device, done == "start")
        train(settings)
        (made,) = encode.load(settings.output).encode(Signal("embedding", x[test]))
    middle = y[np.concatenate([known, more[1]])].mean(0)
    values = scored(made.data - middle, y[test] - middle)
    top = {name: float(np.mean(values[name])) for name in ("top1", "csls")}
    return {
        **top,
        "over": interval(np.array(values["top1"])),
        "items": len(test),
        "vectors": [len(side) for side in more],
    }


def written(folder, x, y, known, partner, more, chosen, draw, device, start) -> Settings:
    """The run, of files in a folder; start: the network as it begins."""
    for name, rows in {"a": x[known], "b": y[partner], "more": x[more[0]], "onto": y[more[1]]}.items():
        np.save(folder / f"{name}.npy", rows)
    a, b, c, d = (str(folder / f"{name}.npy") for name in ("a", "b", "more", "onto"))
    files = (
        {"data": [a], "onto": [b], "more": [c], "onto_more": [d]}
        if len(known)
        else {"data": [c], "onto": [d], "unpaired": True}
    )
    how = {"steps": 1, "lr": 1e-12} if start else {"steps": STEPS, "lr": RATE}
    options = {"arch": "latent", "options": chosen, "holdout": 0, "seed": draw, "device": device}
    return Settings("translate", output=str(folder / "ab.safetensors"), **files, **how, **options)


def main(out: Path, quick: bool, again: bool, device: str, draws: int) -> None:
    path = named(out, "latent.jsonl", again)
    done = resumed(path)
    there = {(one["setting"], one["arm"], one["draw"]) for one in done}
    for draw in [AGAIN * again + draw for draw in DRAWS[: 1 if quick else draws]]:
        for name, setting in SETTINGS.items():
            arms = QUICK if quick or again else ARMS
            for arm in arms if setting[1] else [arm for arm in arms if arm in NONE]:
                if (name, arm, draw) not in there:
                    data = load(out, TEXTS[setting[0]][0], again)
                    keep(
                        path,
                        done,
                        {"setting": name, "arm": arm, "draw": draw, **measured(data, setting, arm, draw, device)},
                    )
    named(out, "latent.md", again).write_text(text := shown(done))
    print(text)


def shown(done: list[dict]) -> str:
    """A line for each arm, a column for each setting: top-1 / with CSLS, the mean of the draws, and the least and the greatest top-1."""
    settings, arms = (list(dict.fromkeys(one[of] for one in done)) for of in ("setting", "arm"))
    out = ["| | " + " | ".join(settings) + " |", "|---" * (len(settings) + 1) + "|"]
    for arm in arms:
        cells = []
        for setting in settings:
            runs = [one for one in done if (one["setting"], one["arm"]) == (setting, arm)]
            top = np.array([one["top1"] for one in runs])
            spread = f" ({short(top.min())} to {short(top.max())})" if len(runs) > 1 else ""
            csls = float(np.mean([one["csls"] for one in runs])) if runs else 0.0
            cells.append(f"{short(float(top.mean()))} / {short(csls)}{spread}" if runs else "")
        out.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    given = dict(zip(sys.argv[2:], sys.argv[3:]))
    main(
        Path(sys.argv[1]),
        "--quick" in sys.argv,
        "--again" in sys.argv,
        given.get("--device", "cpu"),
        int(given.get("--draws", len(DRAWS))),
    )
