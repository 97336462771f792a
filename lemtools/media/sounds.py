"""Sounds by libsndfile (soundfile), and WAV for pipes by hand: bytes -> [C, T] and back."""

import io

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source


def read(source: Source, form: str) -> Signal:
    """The sound that the input holds, as a batch of one, float32 with full scale 1."""
    raw = source.rest()
    if form == "WAV":
        mend_wav_sizes(raw)
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            announced, rate = file.frames * file.channels * 4, file.samplerate
            if announced > source.max_bytes:
                raise LemError(f"{source.name}: {announced} bytes of sound; raise --max-bytes to read it")
            blocks = list(file.blocks(1 << 20, dtype="float32", always_2d=True))
    except LemError:
        raise
    except Exception as error:  # soundfile raises its own, RuntimeError, and TypeError on damaged headers
        text = str(error).split(": ")[-1].strip()[:80]
        raise LemError(f"{source.name}: not a readable {form} ({text})") from error
    data = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
    if not len(data):
        raise LemError(f"{source.name}: a sound of no length")
    return Signal("audio", np.ascontiguousarray(data.T)[None], rate=float(rate))


def mend_wav_sizes(raw: np.ndarray) -> None:
    """Where a WAV written to a pipe does not know its length (0 or 2**32 - 1), let it end where the bytes end."""
    at = 12
    while at + 8 <= len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8].tobytes(), "little")
        if raw[at : at + 4].tobytes() == b"data":
            here = len(raw) - at - 8
            if size in (0, 0xFFFFFFFF) or size >= 0x7FFFF000:
                raw[at + 4 : at + 8] = np.frombuffer(here.to_bytes(4, "little"), np.uint8)
                raw[4:8] = np.frombuffer((len(raw) - 8).to_bytes(4, "little"), np.uint8)
            elif size > here:
                raise LemError(f"WAV cut short, {here} of {size} bytes")
            return
        at += 8 + size + size % 2


def wav(sound: np.ndarray, rate: float) -> bytes:
    """A WAV of 32-bit floats, which loses nothing, of one sound [C, T]; its 58 bytes of header written by hand."""
    frames = np.ascontiguousarray(sound.T, "<f4").tobytes()
    channels, rate = len(sound), round(rate)
    form = b"".join(
        n.to_bytes(size, "little")
        for n, size in ((3, 2), (channels, 2), (rate, 4), (4 * channels * rate, 4), (4 * channels, 2), (32, 2), (0, 2))
    )
    fact = (len(frames) // (4 * channels)).to_bytes(4, "little")
    chunks = b"".join(
        name + min(len(body), 0xFFFFFFFF).to_bytes(4, "little") + body
        for name, body in ((b"fmt ", form), (b"fact", fact), (b"data", frames))
    )
    return b"RIFF" + min(len(chunks) + 4, 0xFFFFFFFF).to_bytes(4, "little") + b"WAVE" + chunks


def flac(sound: np.ndarray, rate: float) -> bytes:
    """A FLAC of 24 bits, clipped to full scale, of one sound [C, T]."""
    import soundfile

    out = io.BytesIO()
    try:
        soundfile.write(out, np.clip(sound.T, -1, 1), round(rate), subtype="PCM_24", format="FLAC")
    except Exception as error:
        raise LemError(f"does not fit a FLAC ({str(error)[:80]}); write WAV") from error
    return out.getvalue()
