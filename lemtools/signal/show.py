"""What a notebook shows of a batch: small pictures, sounds to play, and a line for all else."""

from typing import Any

import numpy as np

from ..catalogue.errors import LemError
from .spoken import Alphabet

ITEMS = 12  # shown at most
SIDE = 192  # px: pictures on a sheet are shrunk to this


class Shown:
    """A batch as other libraries and notebooks take it; the fields are those of `Signal`."""

    kind: str
    data: np.ndarray
    ops: list[dict[str, Any]]
    names: list[str] | None
    rate: float | None
    index: np.ndarray
    alphabet: Alphabet | None

    def __repr__(self) -> str:
        """One line: kind, items, shape, type, and what was taken away."""
        count, shape = len(self.data), " x ".join(map(str, self.data.shape[1:]))
        rate = "" if self.rate is None else f" at {self.rate:g} Hz"
        lost = "".join(f", {op['op']} {_short(op.get(op['op']))}".rstrip() for op in self.ops)
        items = "item" if count == 1 else "items"
        return f"<Signal: {count} {self.kind} {items} of {shape} {self.data.dtype}{rate}{lost}>"

    def numpy(self) -> np.ndarray:
        """`data`: what is lost in it is 0."""
        return self.data

    def torch(self) -> Any:
        """`data` as a torch tensor, in memory of its own."""
        import torch

        return torch.from_numpy(self.data.copy())

    def pil(self, item: int = 0) -> Any:
        """One image as Pillow has it: grey, RGB or RGBA of 8 bits; floats are clipped to [0, 1]. LemError for others."""
        from PIL import Image

        if self.kind != "image" or self.data.shape[1] == 2:
            raise LemError(f"{self.kind} of {list(self.data.shape[1:])} is no picture; take .numpy()")
        pixels = self.data[item]
        if pixels.dtype != np.uint8:
            pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))

    def png(self, item: int = 0, side: int | None = None) -> bytes:
        """One image as the bytes of a PNG, shrunk to `side` pixels where it is larger."""
        import io

        image, out = self.pil(item), io.BytesIO()
        if side is not None:
            image.thumbnail((side, side))
        image.save(out, "PNG")
        return out.getvalue()

    def wav(self, item: int = 0) -> bytes:
        """One sound as a WAV of 16 bits, which every browser plays."""
        import io
        import wave

        out, samples = io.BytesIO(), np.clip(self.data[item], -1, 1) * 32767
        with wave.open(out, "wb") as file:
            file.setparams((len(samples), 2, round(self.rate or 16000), 0, "NONE", ""))
            file.writeframes(np.rint(samples.T).astype("<i2").tobytes())
        return out.getvalue()

    def _repr_png_(self) -> bytes | None:
        return self.png() if self.kind == "image" and len(self.data) == 1 else None

    def _repr_html_(self) -> str:
        """A contact sheet of images, players of sounds, the beginning of texts; above it the line of `repr`."""
        from html import escape

        cells, count = [], len(self.data)
        for i in range(min(count, ITEMS)):
            name = self.names[i].encode("utf-8", "replace").decode() if self.names else str(self.index[i])
            if body := self._element(i):
                cells.append(f'<figure style="margin:4px">{body}<figcaption>{escape(name)}</figcaption></figure>')
        more = f"<p>and {count - ITEMS} more</p>" if cells and count > ITEMS else ""
        sheet = f'<div style="display:flex;flex-wrap:wrap">{"".join(cells)}</div>{more}' if cells else ""
        return f"<p><code>{escape(repr(self))}</code></p>{sheet}"

    def _element(self, item: int) -> str:
        from base64 import b64encode
        from html import escape

        if self.kind == "image" and self.data.shape[1] != 2:
            return f'<img src="data:image/png;base64,{b64encode(self.png(item, SIDE)).decode()}">'
        if self.kind == "audio":
            return f'<audio controls src="data:audio/wav;base64,{b64encode(self.wav(item)).decode()}"></audio>'
        if self.alphabet is not None:
            return f"<pre>{escape(' '.join(self.alphabet.texts(self.data[item, :200])))}</pre>"
        if self.kind == "tokens" and self.data.dtype == np.uint8:
            text: bytes = self.data[item, :400].tobytes()
            return f"<pre>{escape(text.replace(bytes(1), b'?').decode('utf-8', 'replace'))}</pre>"
        return ""


def _short(value: Any) -> str:
    """A parameter in a few letters: of one that items drew for themselves, its range."""
    if isinstance(value, np.ndarray) and value.size:
        low, high = value.min(), value.max()
        return f"{low:.3g}" if low == high else f"{low:.3g}-{high:.3g}"
    return f"{value:.3g}" if isinstance(value, int | float) else str(value or "")
