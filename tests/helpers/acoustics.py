"""A toy acoustic model in Sphinx's own files, whose phones are tones, and sounds of such tones."""

import struct
from pathlib import Path

import numpy as np

from lemtools.phones.cepstra import RATE, bands, cepstra, denoised, features

TONES = {"AA": (500, 900), "IY": (2500, 3100), "S": (4500, 5600)}  # Hz
NAMES = ("AA", "IY", "S", "SIL")
TRIPHONE = ("AA", "IY", "S")  # AA between IY and S, inside a word
DICT = "ah AA\nee IY\nsee S IY\nas AA S\nsay S IY AA\neither AA S\neither(2) IY S\n"


def sound(parts, seed=0):
    """(float32 [T] at 16 kHz, its edges in seconds) of parts (phone, seconds); SIL is faint noise."""
    rng = np.random.default_rng(seed)
    waves = []
    for phone, seconds in parts:
        t = np.arange(round(seconds * RATE)) / RATE
        waves.append(sum((0.1 * np.sin(2 * np.pi * hz * t) for hz in TONES.get(phone, ())), np.zeros(len(t))))
    whole = np.concatenate(waves)
    edges = np.cumsum([seconds for _, seconds in parts])[:-1]
    return (whole + rng.normal(0, 1e-3, len(whole))).astype(np.float32), edges


def _gaussians(path, values):
    phones, streams, count, size = values.shape
    head = b"s3\nversion 1.0\nchksum0 no\nendhdr\n" + struct.pack("<4I", 0x11223344, phones, streams, count)
    body = struct.pack(f"<{streams}I", *[size] * streams) + struct.pack("<I", values.size)
    path.write_bytes(head + body + values.astype("<f4").tobytes())


def toy(folder):
    """Write the model to folder/en-us and its dictionary beside it; returns the folder as text. One Gaussian a phone, three states
    alike, and one triphone, TRIPHONE, whose states are senones of its own."""
    place = Path(folder) / "en-us"
    place.mkdir(parents=True)
    parts = [(name, 0.3) for name in (*NAMES[::-1], *NAMES, "AA", "S", "IY", "SIL")]
    wave, _ = sound(parts)
    streams = features(cepstra(denoised(bands(wave))))
    of = np.array([NAMES.index(parts[min(int(k / 30), len(parts) - 1)][0]) for k in range(len(streams))])
    means = np.stack([streams[of == p].mean(0) for p in range(len(NAMES))])[:, :, None]
    variances = np.stack([streams[of == p].var(0) + 4 for p in range(len(NAMES))])[:, :, None]
    _gaussians(place / "means", means)
    _gaussians(place / "variances", variances)
    count = 3 * len(NAMES) + 3
    (place / "sendump").write_bytes(
        b"".join(struct.pack("<i", len(s)) + s for s in (b"toy\0",))
        + struct.pack("<3i", 0, 1, count)
        + bytes(3 * count)
    )
    names = b"".join(name.encode() + b"\0" for name in NAMES)
    numbers = (len(NAMES), len(NAMES) + 1, 3, count - 3, count, 1, len(NAMES) + 1, 3, 0, NAMES.index("SIL"))
    entries = b"".join(struct.pack("<2i4B", p, 0, 0, 0, 0, 0) for p in range(len(NAMES)))
    entries += struct.pack("<2i4B", len(NAMES), 0, 0, *(NAMES.index(name) for name in TRIPHONE))
    (place / "mdef").write_bytes(
        b"BMDF"
        + struct.pack("<2i", 1, 4)
        + b"toy\0"
        + struct.pack("<10i", *numbers)
        + names
        + bytes(-len(names) % 4)
        + entries
        + struct.pack("<i", count)
        + np.arange(count, dtype="<u2").tobytes()
    )
    (Path(folder) / "cmudict-en-us.dict").write_text(DICT)
    return str(folder)
