"""Frames of tokens fed back to the network that made them, the stages of sprites.sh: `python sprites.py STAGE OUT ...`.

Two sprites of four shapes move over a dark ring of 32 x 32 pixels and bounce off its edges; where they are at any step follows
from where they begin. Frames are 64 tokens, patches of 4 x 4 pixels by 64 codes. `lem-train frames` learns the next
frame from two; it draws the places of a frame independently, so that a closed loop leaves what it learned from.

    pictures OUT           OUT/pictures.npy, frames to learn from, STORED rows side by side
    patches OUT            OUT/fit.npy, patches to fit codes to, from OUT/patches.safetensors
    start OUT SEED         OUT/start-SEED.npy, two frames of tokens of each of ROWS other rows: where rollouts begin
    roll OUT SEED WAY      OUT/roll-SEED-WAY.npy by the network OUT/frames-SEED.safetensors, with WAY after every step
    measure OUT SEED NAME [FILE]   a line of JSON a step, of OUT/roll-SEED-NAME.npy or of FILE, a rollout of tokens
    picture OUT SEED NAME...       OUT/sprites.png: frames of one row at the steps of SHOWN_AT, the true ones above those of each NAME

WAY: none; requantise (frames decoded to pixels, and encoded again); noise (the same with noise of a tenth of the std on the
pixels); snap (the nearest frame that was learned from); expected (the mean of the vectors of the codes under what the
network says, quantised).

place     share of places right, of those where the true frame has a sprite
right     of all places
frame, pair   area under the ROC of a judge that tells rollouts from other true frames (pairs of frames): a network of one layer
          that half of the rows taught and the other half asks. .5: it cannot
near      the same by the distance to the nearest stored frame of all, without a judge that learns: below .5 they are nearer to
          what was stored than true frames are, which is as visible
lit       share of places that are not dark, and of the true frames
frechet, window   Frechet distance of frames (of two in a row) from true ones, and its floor (lem-compare frechet-pca)
flips     share of tokens that WAY changed, over all steps

Environment: ROWS (1000), STEPS (500), STORED (1000) rows of LENGTH (24) steps, THREADS (1), DEVICE (cpu).
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROWS, STEPS, STORED, LENGTH, THREADS = (
    int(os.environ.get(k, v))
    for k, v in (("ROWS", 1000), ("STEPS", 500), ("STORED", 1000), ("LENGTH", 24), ("THREADS", 1))
)
SIDE, PATCH, CODES, SPRITE, SPEED = 32, 4, 64, 8, 3
SHOWN = 2  # frames that the network sees
JUDGED = (1, 6, 20, 50, 100, 200, 300, 400, 500)
DEVICE = os.environ.get("DEVICE", "cpu")
SHOWN_AT = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500)
PART = 1 << 14  # stored frames that are compared at a time
NOISE = 0.1


def shapes() -> np.ndarray:
    """uint8 [4, SPRITE, SPRITE]: a disc, a square frame, a cross and a wedge, of different brightness."""
    y, x = np.mgrid[:SPRITE, :SPRITE] - (SPRITE - 1) / 2
    disc = np.hypot(x, y) < SPRITE / 2
    frame = np.maximum(abs(x), abs(y)) > SPRITE / 2 - 2
    cross = np.minimum(abs(x), abs(y)) < 1
    wedge = x <= y
    return np.stack([disc * 255, frame * 210, cross * 235, wedge * 180]).astype(np.uint8)


def pictures(seed: int, rows: int, step: int) -> np.ndarray:
    """uint8 [rows, SIDE, SIDE]: the frames of a seed at a step. A coordinate goes to and fro at its own speed: its phase
    is uniform, so that frames are distributed alike at every step."""
    rng = np.random.default_rng([seed, 17])
    room = SIDE - SPRITE
    kind = np.stack([rng.permutation(4)[:2] for _ in range(rows)], 1)
    speed = rng.integers(1, SPEED + 1, (2, 2, rows))
    phase = (rng.integers(0, 2 * room, (2, 2, rows)) + speed * step) % (2 * room)
    place = room - abs(phase - room)
    out, form = np.zeros((rows, SIDE, SIDE), np.uint8), shapes()
    for row in range(rows):
        for k in range(2):
            y, x = place[k, :, row]
            part = out[row, y : y + SPRITE, x : x + SPRITE]
            np.maximum(part, form[kind[k, row]], out=part)
    return out


class Codec:
    """Frames of pixels, float32 in [0, 1], and their tokens, by the codebook of OUT."""

    def __init__(self, out: Path):
        from lemtools.encode import load

        rvq = load(str(out / "codes.safetensors")).rvq
        self.vectors = np.asarray(rvq.decode(np.arange(CODES)[:, None]), np.float32)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """[N, SIDE, SIDE] to uint8 [N, 64]."""
        n, cells = len(frames), SIDE // PATCH
        x = frames.reshape(n, cells, PATCH, cells, PATCH).swapaxes(2, 3).reshape(-1, PATCH * PATCH)
        return self.quantise(x).reshape(n, -1)

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """The nearest code of vectors [M, D]. (rvq keeps code 0 for what is exactly zero: nothing that is nearly dark gets it.)"""
        return nearest(np.asarray(x, np.float32), self.vectors)[0].astype(np.uint8)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        n, cells = len(tokens), SIDE // PATCH
        x = self.vectors[tokens.reshape(-1)].reshape(n, cells, cells, PATCH, PATCH)
        return x.swapaxes(2, 3).reshape(n, SIDE, SIDE)

    def truth(self, seed: int, step: int, rows: int = ROWS) -> np.ndarray:
        """Tokens of the true frames."""
        return self.encode(pictures(seed, rows, step).astype(np.float32) / 255)


def others(seed: int) -> tuple[int, int]:
    """Of a run: the seed of the rows that it begins with, and of the true ones that judges compare with."""
    return 1000 + seed, 2000 + seed


def make_pictures(out: Path) -> None:
    np.save(out / "pictures.npy", np.concatenate([pictures(0, STORED, t) for t in range(LENGTH)]))


def make_patches(out: Path) -> None:
    """Patches that are not background, and as many dark ones as a code stands for: dark has a code of its own."""
    from lemtools.media import store

    x = np.asarray(store([str(out / "patches.safetensors")]))
    x = x.reshape(-1, x.shape[-1])
    x = x[x.any(1)]
    x = x[np.random.default_rng(0).permutation(len(x))[:100_000]]
    dark = np.zeros((len(x) // CODES, x.shape[1]), np.float32)
    whole = np.concatenate([x, dark])
    np.save(out / "fit.npy", whole[np.random.default_rng(1).permutation(len(whole))])


def make_start(out: Path, seed: int) -> None:
    codec, (begin, _) = Codec(out), others(seed)
    frames = [codec.truth(begin, t) for t in range(SHOWN)]
    np.save(out / f"start-{seed}.npy", np.concatenate(frames).astype(np.int32))


def stored(out: Path, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, decoded frames [N, SIDE^2]) of the frames that were learned from."""
    from lemtools.media import store

    tokens = np.asarray(store([str(out / "tokens.safetensors")], kind="tokens"), np.uint8)
    return tokens, codec.decode(tokens).reshape(len(tokens), -1)


def nearest(x: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number, distance) of the nearest of `among` [M, D] to each of x [N, D]."""
    import torch

    best = torch.full((len(x),), torch.inf, device=DEVICE)
    number = torch.zeros(len(x), dtype=torch.int64, device=DEVICE)
    here = torch.from_numpy(x).to(DEVICE)
    for first in range(0, len(among), PART):
        part = torch.from_numpy(among[first : first + PART]).to(DEVICE)
        square, at = ((part**2).sum(1) - 2 * here @ part.T).min(1)
        number, best = torch.where(square < best, at + first, number), torch.minimum(square, best)
    return number.cpu().numpy(), np.sqrt(np.maximum((best + (here**2).sum(1)).cpu().numpy(), 0))


def changes(way: str, out: Path, codec: Codec, seed: int):
    """(tokens [R, P], logits [R, P, K], step) -> tokens [R, P]: what is done after every step."""
    if way == "none":
        return lambda tokens, logits, step: tokens
    if way == "requantise":
        return lambda tokens, logits, step: codec.encode(codec.decode(tokens))
    if way == "noise":

        def noised(tokens, logits, step):
            frames = codec.decode(tokens)
            fresh = np.random.default_rng([seed, step]).standard_normal(frames.shape, dtype=np.float32)
            return codec.encode(frames + NOISE * frames.std() * fresh)

        return noised
    if way == "snap":
        tokens, frames = stored(out, codec)
        return lambda now, logits, step: tokens[nearest(codec.decode(now).reshape(len(now), -1), frames)[0]]
    if way == "expected":

        def expected(tokens, logits, step):
            p = np.exp(logits - logits.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            return codec.quantise((p @ codec.vectors).reshape(-1, PATCH * PATCH)).reshape(tokens.shape)

        return expected
    raise SystemExit(f"no way {way!r}; there are none, requantise, noise, snap, expected")


def roll(out: Path, seed: int, way: str) -> None:
    """uint8 [STEPS R, P], step by step, without the frames that it begins with."""
    import torch

    from lemtools.nets.draw import draw
    from lemtools.nets.frames import Frames
    from lemtools.nets.model import load
    from lemtools.rng import generators

    torch.set_num_threads(THREADS)
    codec, frames = Codec(out), Frames(load(str(out / f"frames-{seed}.safetensors"), DEVICE))
    change = changes(way, out, codec, seed)
    context = np.load(out / f"start-{seed}.npy").reshape(SHOWN, ROWS, -1).swapaxes(0, 1)
    found, flips, begun = [], 0.0, time.perf_counter()
    for step in range(STEPS):
        logits = frames.logits(context)
        drawn = draw(torch.from_numpy(logits), generators(seed, np.arange(ROWS), step, "frames"))
        kept = change(drawn.astype(np.uint8), logits, step)
        flips += float((kept != drawn).mean()) / STEPS
        found.append(kept.astype(np.uint8))
        context = np.concatenate([context[:, 1:], kept[:, None].astype(np.int32)], 1)
    np.save(out / f"roll-{seed}-{way}.npy", np.concatenate(found))
    seconds = (time.perf_counter() - begun) / STEPS
    print(json.dumps({"seed": seed, "way": way, "flips": round(flips, 5), "seconds_per_step": round(seconds, 4)}))


def auc(clean: np.ndarray, other: np.ndarray) -> float:
    """Probability that a score of `other` exceeds one of `clean`; ties count half."""
    both = np.concatenate([clean, other])
    order = np.unique(both, return_inverse=True)[1]
    count = np.bincount(order)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[order[len(clean) :]].sum() - len(other) * (len(other) + 1) / 2) / (len(clean) * len(other)))


def judged(clean: np.ndarray, other: np.ndarray, seed: int) -> float:
    """AUC of a network that learned from half of the rows of both to tell tokens [N, L] from those of true frames, on
    the other half."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    half, length = len(clean) // 2, clean.shape[1]
    x = torch.from_numpy(np.concatenate([clean, other]).astype(np.int64)) + CODES * torch.arange(length)
    y = torch.cat([torch.zeros(len(clean)), torch.ones(len(other))])
    learnt = torch.cat([torch.arange(half), len(clean) + torch.arange(half)])
    net = torch.nn.Sequential(
        torch.nn.EmbeddingBag(CODES * length, 64, mode="sum"), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
    torch.nn.init.normal_(net[0].weight, std=length**-0.5)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(150):
        part = learnt[torch.randint(len(learnt), (256,))]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[part])[:, 0], y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        score = net(x)[:, 0].numpy()
    return auc(score[half : len(clean)], score[len(clean) + half :])


def measure(out: Path, seed: int, name: str, path: str | None) -> None:
    """At the steps of JUDGED, against the true frames that follow, and against other true rows at the same step."""
    from lemtools.compare.distribution import frechet_pca
    from lemtools.media import store

    codec, (begin, apart) = Codec(out), others(seed)
    rolled = store([path or str(out / f"roll-{seed}-{name}.npy")], kind="tokens")
    rolled = np.asarray(rolled, np.uint8).reshape(-1, ROWS, (SIDE // PATCH) ** 2)
    start = np.load(out / f"start-{seed}.npy").reshape(SHOWN, ROWS, -1).astype(np.uint8)
    among = stored(out, codec)[1]
    dark = int(codec.encode(np.zeros((1, SIDE, SIDE), np.float32))[0, 0])
    for step in (s for s in JUDGED if s <= len(rolled)):
        now, before = rolled[step - 1], rolled[step - 2] if step > 1 else start[-1]
        true, other = (codec.truth(number, SHOWN - 1 + step) for number in (begin, apart))
        other_before = codec.truth(apart, SHOWN - 2 + step)
        pair, other_pair = np.concatenate([before, now], 1), np.concatenate([other_before, other], 1)
        pixels, others_pixels = codec.decode(now), codec.decode(other)
        two, other_two = (
            np.stack([codec.decode(x), y], 1) for x, y in ((before, pixels), (other_before, others_pixels))
        )
        far = [nearest(x.reshape(len(x), -1), among)[1] for x in (others_pixels, pixels)]
        frechet, window = frechet_pca(others_pixels, pixels), frechet_pca(other_two, two)
        line = {"seed": seed, "way": name, "step": step, "rows": ROWS, "place": (now == true)[true != dark].mean()}
        line |= {
            "right": (now == true).mean(),
            "frame": judged(other, now, seed),
            "pair": judged(other_pair, pair, seed),
        }
        line |= {"lit": (now != dark).mean(), "lit_true": (true != dark).mean()}
        line |= {"near": auc(*far), "frechet": frechet.value, "frechet_floor": frechet.beside}
        line |= {"window": window.value, "window_floor": window.beside}
        print(json.dumps({k: round(float(v), 5) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def picture(out: Path, seed: int, names: list[str]) -> None:
    from PIL import Image

    from lemtools.media import store

    codec, lines = Codec(out), []
    begin, _ = others(seed)
    for name in ("", *names):
        frames = [codec.truth(begin, SHOWN - 1 + step)[:1] for step in SHOWN_AT]
        if name:
            path = next(p for p in (out / f"roll-{seed}-{name}{end}" for end in (".npy", ".safetensors")) if p.exists())
            rolled = np.asarray(store([str(path)], kind="tokens"), np.uint8).reshape(-1, ROWS, frames[0].shape[1])
            frames = [rolled[step - 1, :1] for step in SHOWN_AT if step <= len(rolled)]
        shown = [codec.decode(frame)[0] for frame in frames]
        shown += [np.zeros((SIDE, SIDE))] * (len(SHOWN_AT) - len(shown))
        lines.append(np.hstack([np.pad(x, 1, constant_values=0.4) for x in shown]))
    image = Image.fromarray(np.rint(255 * np.clip(np.vstack(lines), 0, 1)).astype(np.uint8))
    image.resize((2 * image.width, 2 * image.height), Image.NEAREST).save(out / "sprites.png")


def main(stage: str, folder: str, *rest: str) -> None:
    out = Path(folder)
    if stage in ("pictures", "patches") and not rest:
        {"pictures": make_pictures, "patches": make_patches}[stage](out)
    elif stage == "start" and len(rest) == 1:
        make_start(out, int(rest[0]))
    elif stage == "roll" and len(rest) == 2:
        roll(out, int(rest[0]), rest[1])
    elif stage == "measure" and len(rest) in (2, 3):
        measure(out, int(rest[0]), rest[1], rest[2] if len(rest) == 3 else None)
    elif stage == "picture" and len(rest) > 1:
        picture(out, int(rest[0]), list(rest[1:]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
