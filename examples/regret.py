"""How much worse than the best method is the default? `python regret.py FOLDER [FOLDER ...] [--side 192] [--losses 3,4,5,.5]`.

From every image of a folder the square of SIDE pixels at its centre is taken (0: the whole). It loses bits (3: three are
kept) or pixels (.5: half of them, at random), and is recalled by `decode`, by `smooth` (bits) or `inpaint` (pixels), by
`net` and by the default. Regret is what the best of the first three, in hindsight, is above the default, in dB; below 0
the default is the best. Printed for each folder, whose images' names may start with KIND-: then for each kind.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np

from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal

METHODS = ("decode", "plain", "net", "auto")


def centre(image: np.ndarray, side: int) -> np.ndarray:
    if not side:
        return image
    top, left = (max(n // 2 - side // 2, 0) for n in image.shape[2:])
    return np.ascontiguousarray(image[:, :, top : top + side, left : left + side])


def recalled(job: tuple[Path, int, list[float]]) -> list[list[float]]:
    """PSNR in dB of one image, for each loss by each of METHODS."""
    file, side, losses = job
    (whole,) = load([file], batch=1)
    whole = Signal("image", centre(whole.data, side), index=np.zeros(1, int))
    rows = []
    for loss in losses:
        op = {"op": "bits", "bits": int(loss)} if loss >= 1 else {"op": "mask", "mask": loss}
        (broken,) = fragment([whole], [op])
        plain = "smooth" if loss >= 1 else "inpaint"
        row = []
        for method in METHODS:
            (back,) = reconstruct([broken], plain if method == "plain" else method)
            error = np.mean((back.data.astype(np.float64) - whole.data) ** 2)
            row.append(10 * np.log10(255**2 / max(error, 1e-4)))
        rows.append(row)
    return rows


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("folders", nargs="+", type=Path)
    ask.add_argument("--side", type=int, default=192)
    ask.add_argument("--losses", default="3,4,5,.5")
    given = ask.parse_args()
    losses = [float(text) for text in given.losses.split(",")]
    print("PSNR in dB: images\tn\tloss\tdecode\tsmooth or inpaint\tnet\tdefault\tmean regret\tlargest\tbelow decode")
    with ProcessPoolExecutor() as pool:
        for folder in given.folders:
            files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp")]
            if not files:
                sys.exit(f"{folder}: no images")
            found = list(pool.map(recalled, ((file, given.side, losses) for file in files)))
            kinds = [file.stem.partition("-")[0] if "-" in file.stem else "" for file in files]
            for kind, items in groupby(range(len(files)), kinds.__getitem__):
                rows = np.array([found[i] for i in items])
                for loss, table in zip(given.losses.split(","), rows.swapaxes(0, 1)):
                    regret = table[:, :3].max(1) - table[:, 3]
                    name = " ".join(filter(None, (folder.name, kind)))
                    below = int((table[:, 3] < table[:, 0] - 5e-3).sum())
                    means = (f"{value:.2f}" for value in table.mean(0))
                    print(
                        name,
                        len(rows),
                        loss,
                        *means,
                        f"{regret.mean():+.2f}",
                        f"{regret.max():+.2f}",
                        below,
                        sep="\t",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
