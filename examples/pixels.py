"""Random pixels lost: `python pixels.py DATA [--quick] [--no-peer]`, beside skimage's biharmonic inpainting.

Grey images, luma rint(.299 R + .587 G + .114 B), of Set5 and Kodak; exactly 50, 80 or 90 % of the pixels are lost,
seeded by the image's number; results are rounded to 8 bits. `inpaint` is training-free, `net` the network that comes
with the package; all in one run. The biharmonic side of the 24 Kodak images takes some 20 minutes:
--no-peer leaves it out; with --quick only the 256 x 256 at the centre of each image is used.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage.restoration import inpaint_biharmonic

from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal

sys.path.insert(0, str(Path(__file__).parent))
from data import luma


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | bool = True) -> float:
    error = (a.astype(np.float64) - b) ** 2
    return float(10 * np.log10(255**2 / error.mean(where=where)))


def centre(image: np.ndarray, side: int = 256) -> np.ndarray:
    top, left = (max(n // 2 - side // 2, 0) for n in image.shape[2:])
    return image[:, :, top : top + side, left : left + side]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        luma(Path(sys.argv[1]), Path(folder))
        grey = {
            name: [x[None] for s in load([f"{folder}/{name}"], batch=1) for x in s.data] for name in ("set5", "kodak")
        }
    if "--quick" in sys.argv:
        grey = {f"{name}, centres": [centre(x) for x in images] for name, images in grey.items()}
    ways = {"biharmonic": biharmonic, "inpaint": "inpaint", "net": "net"}
    if "--no-peer" in sys.argv:
        del ways["biharmonic"]
    columns = [form.format(w) for form in ("{}", "missing: {}", "seconds: {}") for w in ways]
    print("PSNR in dB: images\tlost", *columns, sep="\t")
    for name, images in grey.items():
        for lost in (0.5, 0.8, 0.9):
            rows = []
            for i, image in enumerate(images):
                whole = Signal("image", np.ascontiguousarray(image), index=np.array([i]))
                (broken,) = fragment([whole], [{"op": "mask", "mask": lost}])
                gone, row = ~broken.mask[0, 0], []
                for way in ways.values():
                    begun = time.perf_counter()
                    back = way(broken, gone) if callable(way) else next(reconstruct([broken], way)).data[0, 0]
                    row.append((psnr(image[0, 0], back), psnr(image[0, 0], back, gone), time.perf_counter() - begun))
                rows.append(row)
            means = np.mean(rows, 0).T.ravel()
            print(name, f"{lost:.0%}", *(f"{value:.2f}" for value in means), sep="\t", flush=True)


def biharmonic(broken: Signal, gone: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(inpaint_biharmonic(broken.data[0, 0] / 255.0, gone), 0, 1) * 255)


if __name__ == "__main__":
    main()
