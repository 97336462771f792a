"""Mean over items of the PSNR on the missing pixels: `python missing.py ORIGINAL FRAGMENTS RECALLED`, after a tab."""

import sys

import numpy as np

from lemtools.media import load

original, fragments, recalled = (list(load([path])) for path in sys.argv[1:])
a, b = (np.concatenate([s.data for s in batches]).astype(np.float64) for batches in (original, recalled))
lost = np.concatenate([~s.observed() for s in fragments])
error = ((a - b) ** 2 * lost).sum((1, 2, 3)) / lost.sum((1, 2, 3))
print(f"\t{(10 * np.log10(255**2 / error)).mean():.2f}", end="")
