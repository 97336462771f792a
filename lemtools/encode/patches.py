"""Images as their patches, in reading order."""

from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal
from ..stream import MAX_BYTES
from .contract import Encoder, as_image


class Patches(Encoder):
    """Image [N, C, H, W] <-> embedding [N, L, C * size * size] of float32 with 1 as full scale.

    L = ceil(H / size) * ceil(W / size), row by row; a last row or column that does not fill a patch is repeated into
    it, and cut off again by `decode`, which restores 8-bit images exactly.
    """

    name = "patches"

    def __init__(self, size: int = 8):
        self.size = size

    def record(self, signal: Signal) -> dict:
        return {"size": self.size, "shape": list(signal.data.shape[1:]), "dtype": signal.data.dtype.name}

    def encode(self, signal: Signal) -> list[Signal]:
        x, p = signal.data, self.size
        if x.dtype == np.uint8:
            x = x.astype(np.float32) / np.float32(255)
        n, c, h, w = x.shape
        if (large := 4 * c * (h + -h % p) * (w + -w % p)) > MAX_BYTES:
            raise LemError(
                f"patches of {p} x {p} px make {large} bytes of an image of {w} x {h}; give a smaller --size"
            )
        x = np.pad(x, ((0, 0), (0, 0), (0, -h % p), (0, -w % p)), mode="edge")
        rows, columns = x.shape[2] // p, x.shape[3] // p
        x = x.reshape(n, c, rows, p, columns, p).transpose(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c * p * p)
        return [replace(signal, kind="embedding", data=np.ascontiguousarray(x))]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        try:
            p, (c, h, w), dtype = record["size"], record["shape"], record["dtype"]
            rows, columns = -(-h // p), -(-w // p)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise LemError("the history does not say what image these patches are of") from error
        n, shape = len(signal), (rows * columns, c * p * p)
        if signal.data.shape[1:] != shape:
            raise LemError(f"embeddings {list(signal.data.shape[1:])} are not the {list(shape)} patches of the history")
        x = signal.data.reshape(n, rows, columns, c, p, p).transpose(0, 3, 1, 4, 2, 5)
        x = x.reshape(n, c, rows * p, columns * p)[:, :, :h, :w]
        return [replace(signal, kind="image", data=as_image(x, dtype), tokens=None, depth=None)]
