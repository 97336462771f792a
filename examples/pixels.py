"""Random pixels lost: `python pixels.py DATA [--quick] [--no-peer]`, beside skimage's biharmonic inpainting.

Grey images, luma rint(.299 R + .587 G + .114 B), of Set5 and Kodak; exactly 50, 80 or 90 % of the pixels are lost,
seeded by the image's number; results are rounded to 8 bits. `inpaint` is training-free, `net` the network that comes
with the package, `ensemble` the default; all in one run, an image a core. The biharmonic side of the 24 Kodak images takes
some 20 minutes of one core: --no-peer leaves it out; with --quick only the 256 x 256 at the centre of each image is used.
"""

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from skimage.restoration import inpaint_biharmonic

from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal

sys.path.insert(0, str(Path(__file__).parent))
from data import luma
from gain import cell


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | bool = True) -> float:
    error = (a.astype(np.float64) - b) ** 2
    return float(10 * np.log10(255**2 / error.mean(where=where)))


def centre(image: np.ndarray, side: int = 256) -> np.ndarray:
    top, left = (max(n // 2 - side // 2, 0) for n in image.shape[2:])
    return image[:, :, top : top + side, left : left + side]


def scores(job: tuple[int, np.ndarray, float, list[str]]) -> list[tuple[float, float, float]]:
    """(PSNR of the image, of its missing pixels, seconds) by each of the methods."""
    i, image, lost, methods = job
    whole = Signal("image", np.ascontiguousarray(image), index=np.array([i]))
    (broken,) = fragment([whole], [{"op": "mask", "mask": lost}])
    gone, row = ~broken.mask[0, 0], []
    for method in methods:
        begun = time.perf_counter()
        if method == "biharmonic":
            back = np.rint(np.clip(inpaint_biharmonic(broken.data[0, 0] / 255.0, gone), 0, 1) * 255)
        else:
            back = next(reconstruct([broken], method)).data[0, 0]
        row.append((psnr(image[0, 0], back), psnr(image[0, 0], back, gone), time.perf_counter() - begun))
    return row


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        luma(Path(sys.argv[1]), Path(folder))
        grey = {
            name: [x[None] for s in load([f"{folder}/{name}"], batch=1) for x in s.data] for name in ("set5", "kodak")
        }
    if "--quick" in sys.argv:
        grey = {f"{name}, centres": [centre(x) for x in images] for name, images in grey.items()}
    methods = (
        ["inpaint", "net", "ensemble"] if "--no-peer" in sys.argv else ["biharmonic", "inpaint", "net", "ensemble"]
    )
    columns = [form.format(m) for form in ("{}", "missing: {}", "seconds: {}") for m in methods]
    print("PSNR in dB: images\tlost", *columns, f"{methods[-1]} less {methods[0]} [95 %]", sep="\t")
    with ProcessPoolExecutor() as pool:
        for name, images in grey.items():
            for lost in (0.5, 0.8, 0.9):
                rows = list(pool.map(scores, ((i, image, lost, methods) for i, image in enumerate(images))))
                means, whole = np.mean(rows, 0).T.ravel(), np.array(rows)[:, :, 0]
                gain = cell(whole[:, -1] - whole[:, 0])
                print(name, f"{lost:.0%}", *(f"{value:.2f}" for value in means), gain, sep="\t", flush=True)


if __name__ == "__main__":
    main()
