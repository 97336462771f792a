"""Random pixels lost: `python pixels.py DATA [--quick]`, beside skimage's biharmonic inpainting in the same run.

Grey images, luma rint(.299 R + .587 G + .114 B), of Set5 and Kodak; exactly 50, 80 or 90 % of the pixels are lost, seeded by
the image's number; results are rounded to 8 bits. The biharmonic side of the 24 Kodak images takes some 20 minutes; with
--quick only the 256 x 256 at the centre of each image is used.
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
from data import luma  # noqa: E402


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
    print(
        "PSNR in dB (whole image; missing pixels)\tlost\tbiharmonic\trecalled\tgain\tmissing: biharmonic\trecalled"
        "\tseconds: biharmonic\trecalled"
    )
    for name, images in grey.items():
        for lost in (0.5, 0.8, 0.9):
            rows = []
            for i, image in enumerate(images):
                whole = Signal("image", np.ascontiguousarray(image), index=np.array([i]))
                (broken,) = fragment([whole], [{"op": "mask", "mask": lost}])
                gone = ~broken.mask[0, 0]
                times = [time.perf_counter()]
                peer = inpaint_biharmonic(broken.data[0, 0] / 255.0, gone)
                times.append(time.perf_counter())
                (back,) = reconstruct([broken])
                times.append(time.perf_counter())
                both = np.rint(np.clip(peer, 0, 1) * 255), back.data[0, 0]
                rows.append(
                    [
                        *(psnr(image[0, 0], x) for x in both),
                        *(psnr(image[0, 0], x, gone) for x in both),
                        *np.diff(times),
                    ]
                )
            a, b, c, d, s, t = np.mean(rows, 0)
            print(
                name,
                f"{lost:.0%}",
                f"{a:.2f}",
                f"{b:.2f}",
                f"{b - a:+.2f}",
                f"{c:.2f}",
                f"{d:.2f}",
                f"{s:.2f}",
                f"{t:.2f}",
                sep="\t",
                flush=True,
            )


if __name__ == "__main__":
    main()
