"""Sounds by libsndfile (soundfile), and WAV for pipes by hand: bytes -> [C, T] and back."""

import io
from collections.abc import Iterator

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source
from .sound_ends import checked

_BLOCK = 1 << 20  # values read at a time
_UNKNOWN = 1 << 62  # libsndfile's number of samples where a FLAC written to a pipe does not know it


def decode_sound(source: Source, form: str) -> Signal:
    """The sound that the input holds, as a batch of one, float32 with full scale 1."""
    blocks, kinds = [], set()
    for raw in checked(source.rest(), form, source.name):
        for rate, block in _blocks(raw, form, source.name):
            blocks.append(block)
            kinds.add((rate, block.shape[1]))
            if sum(block.nbytes for block in blocks) > source.item_bytes:
                most = source.item_bytes
                raise LemError(f"{source.name}: over {most} bytes of sound; raise --max-bytes to read it")
    if not blocks:
        raise LemError(f"{source.name}: a sound of no length")
    if len(kinds) > 1:
        raise LemError(
            f"{source.name}: a chain of {form}s of several rates or channels; name them as files of their own"
        )
    return Signal("audio", np.ascontiguousarray(np.concatenate(blocks).T)[None], rate=float(rate))


def _blocks(raw: np.ndarray, form: str, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, float32 [T, C]) of the pieces of one sound."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            file.seekable = lambda: False  # else soundfile seeks after each read, which a FLAC of unknown length cannot
            taken, count = 0, max(1, _BLOCK // file.channels)
            most = file.frames if form == "FLAC" else _UNKNOWN  # its decoder fails at a tag that stands behind them
            while len(block := file.read(min(count, most - taken), dtype="float32", always_2d=True)):
                yield file.samplerate, block
                taken += len(block)
            if 0 < taken < file.frames < _UNKNOWN:
                raise LemError(f"{name}: {form} cut short, {taken} of {file.frames} samples")
    except (LemError, MemoryError):
        raise
    except Exception as error:  # soundfile raises its own, RuntimeError, and TypeError on damaged headers
        text = str(error).split(": ")[-1].strip(" .")[:80]
        raise LemError(f"{name}: not a readable {form} ({text})") from error


def wav(sound: np.ndarray, rate: float) -> bytes:
    """A WAV of 32-bit floats, which loses nothing, of one sound [C, T]; its 58 bytes of header written by hand."""
    frames = np.ascontiguousarray(sound.T, "<f4").tobytes()
    channels, rate = len(sound), round(rate)
    if not (1 <= channels < 1 << 14 and 1 <= rate and 4 * channels * rate < 1 << 32):
        raise LemError(f"{channels} channels at {rate} Hz do not fit a WAV; write safetensors or npy")
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
        raise LemError(
            f"{len(sound)} channels at {rate:g} Hz do not fit a FLAC ({str(error).split(': ')[-1][:80]}); write WAV"
        ) from error
    return out.getvalue()
