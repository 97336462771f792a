"""May one language model go on from another's activations? The tables of activations.sh.

python activations.py text DATA OUT       train.txt and held.txt, of tiny shakespeare: what both models learn, and the end of it
python activations.py table OUT           results.jsonl, a line for each number of pairs and draw; table.md. Models: OUT/a and OUT/b
python activations.py layers OUT          layers.jsonl, a line for each seed and layer; layers.md. Models: OUT/narrow-SEED and OUT/wide-SEED
"""

import os
import sys
from pathlib import Path

import numpy as np

from lemtools import encode
from lemtools.encode.activations import Activations
from lemtools.encode.patch_translate import patch_translated
from lemtools.signal import Signal
from lemtools.train.loop import train
from lemtools.train.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from resume import keep, resumed

HELD, TESTED = 115_394, 200  # bytes at the end that no model learns; windows of them that are predicted
PAIRS, DRAWS, LAYER = (256, 4096), 3, 1
SEEDS, DEPTH = (1, 2, 3), 4  # of the pairs of models whose layers are all tried
SINGLE = ("procrustes", "cca", "ridge", "auto")
LEARNT = {  # lem-train translate
    "mlp, by squared error": {"steps": 500, "batch": 256},
    "a matrix, by its reader": {"steps": 200, "batch": 8, "lr": 1e-2, "depth": 0},
    "mlp, by its reader": {"steps": 200, "batch": 8, "lr": 2e-3},
}
CONTROLS = ("B's own", "its mean", "A's, as they are", "ridge, of other positions", "ridge, of shuffled pairs")
ROWS = (*CONTROLS, *SINGLE, *LEARNT)


def text(data: Path, out: Path) -> None:
    whole = (data / "text/tinyshakespeare.txt").read_bytes()
    (out / "train.txt").write_bytes(whole[:-HELD])
    (out / "held.txt").write_bytes(whole[-HELD:])


def windows(text: bytes, span: int, count: int, seed: int) -> Signal:
    """Texts of `span` bytes that lie side by side, drawn by the seed."""
    rows = np.frombuffer(text, np.uint8)[: len(text) // span * span].reshape(-1, span)
    return Signal("tokens", rows[np.random.default_rng(seed).permutation(len(rows))[:count]])


def hidden(path: Path, layer: int, signal: Signal) -> np.ndarray:
    """Activations [N, T, D]."""
    made = encode.encode([signal], Activations(lm=str(path), layer=layer))
    return np.concatenate([batch.data for batch in made]).astype(np.float32)


def learnt(folder: Path, reader: Path | None, layer: int, x: np.ndarray, y: np.ndarray, settings: dict):
    """What lem-train translate makes of these sequences."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "a.npy", x)
    np.save(folder / "b.npy", y)
    files = {
        "data": [str(folder / "a.npy")],
        "onto": [str(folder / "b.npy")],
        "output": str(folder / "ab.safetensors"),
    }
    for old in folder.glob("*.safetensors"):
        old.unlink()
    if reader is not None:
        settings = {**settings, "reader": str(reader), "reader_layer": layer}
        settings["batch"] = min(settings["batch"], len(x))
    train(Settings("translate", **files, holdout=0, device=os.environ.get("DEVICE", "cpu"), workers=0, **settings))
    return encode.load(files["output"])


def measured(out: Path, a: Path, b: Path, layer: int, pairs: int, draw: int) -> dict:
    """Bits a byte of B by what is put in place of its activations, and half of the 95 % interval of what that changes."""
    span = Activations(lm=str(b), layer=layer).window
    drawn = windows((out / "train.txt").read_bytes(), span, pairs // span, draw)
    x, y = (hidden(path, layer, drawn) for path in (a, b))
    flat = [Signal("embedding", side.reshape(-1, side.shape[-1])) for side in (x, y)]
    held = windows((out / "held.txt").read_bytes(), span + 1, TESTED, 0)
    files = {"lm": str(b), "from_lm": str(a), "layer": layer}
    found: dict[str, list] = {}

    def put(name: str, coder) -> None:
        for row in patch_translated([held], coder, **files, seed=draw):
            called = (
                name
                if row["put"] == "translated"
                else {"own": "B's own", "mean": "its mean", "identity": "A's, as they are"}.get(row["put"])
            )
            if called is None and name == "ridge":
                called = "ridge, of other positions"
            if called is not None:
                found[called] = [row["loss"], row["interval"], row["nmse"]]

    for name in SINGLE:
        made, report = encode.fit("translate", lambda: [flat[0]], onto=lambda: [flat[1]], map=name)
        put(name, made)
    order = np.random.default_rng(draw).permutation(pairs)
    shuffled = Signal("embedding", flat[1].data[order])
    put("ridge, of shuffled pairs", encode.fit("translate", lambda: [flat[0]], onto=lambda: [shuffled], map="ridge")[0])
    for name, settings in LEARNT.items():
        put(name, learnt(out / "fit", b if "reader" in name else None, layer, x, y, settings))
    return {"pairs": pairs, "draw": draw, "chosen": report["map"], "rows": found}


def table(out: Path) -> None:
    path = out / "results.jsonl"
    done = resumed(path)
    for pairs in PAIRS:
        for draw in range(DRAWS):
            if any((one["pairs"], one["draw"]) == (pairs, draw) for one in done):
                continue
            a, b = out / "a.safetensors", out / "b.safetensors"
            keep(path, done, measured(out, a, b, LAYER, pairs, draw))
    found = shown(done)
    (out / "table.md").write_text(found)
    print(found, end="")


def shown(done: list[dict]) -> str:
    """Bits a byte: the mean over draws, the least and the greatest; the half interval over windows of the first draw."""
    asked = sorted({one["pairs"] for one in done})
    out = [
        "| what B reads | " + " | ".join(f"{pairs:,} pairs" for pairs in asked) + " |",
        "|---" * (len(asked) + 1) + "|",
    ]
    for name in ROWS:
        cells = []
        for pairs in asked:
            rows = [one["rows"][name] for one in done if one["pairs"] == pairs]
            loss = [row[0] for row in rows]
            cells.append(f"{np.mean(loss):.3f} ({min(loss):.3f} to {max(loss):.3f}) ± {rows[0][1]:.3f}")
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    chose = [", ".join(one["chosen"] for one in done if one["pairs"] == pairs) for pairs in asked]
    return "\n".join([*out, "| auto chose | " + " | ".join(chose) + " |"]) + "\n"


def layers(out: Path) -> None:
    path = out / "layers.jsonl"
    done = resumed(path)
    for seed in SEEDS:
        for layer in range(1, DEPTH + 1):
            if not any((one["seed"], one["layer"]) == (seed, layer) for one in done):
                a, b = (out / f"{name}-{seed}.safetensors" for name in ("narrow", "wide"))
                keep(path, done, {"seed": seed, "layer": layer, **measured(out, a, b, layer, max(PAIRS), 0)})
    found = by_layer(done)
    (out / "layers.md").write_text(found)
    print(found, end="")


def by_layer(done: list[dict]) -> str:
    """Bits a byte more than with its own activations, by layer: the mean over pairs of models, the least and the greatest."""
    depths = sorted({one["layer"] for one in done})
    out = [
        "| what B reads | " + " | ".join(f"after block {layer}" for layer in depths) + " |",
        "|---" * (len(depths) + 1) + "|",
    ]
    for name in ROWS:
        cells = []
        for layer in depths:
            rows = [one["rows"] for one in done if one["layer"] == layer]
            more = [row[name][0] - (name != "B's own") * row["B's own"][0] for row in rows]
            cells.append(f"{np.mean(more):{'' if name == ROWS[0] else '+'}.3f} ({min(more):.3f} to {max(more):.3f})")
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    if sys.argv[1] == "text":
        text(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        {"table": table, "layers": layers}[sys.argv[1]](Path(sys.argv[2]))
