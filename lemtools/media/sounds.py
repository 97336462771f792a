"""Sounds by libsndfile (soundfile), and WAV for pipes by hand: bytes -> [C, T] and back."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from ..signal import LemError, Long, Signal
from ..stream import Source
from .how import BATCH_BYTES, Reading, check_finite
from .raw import Cursor, Raw
from .sound_ends import checked

LOUD = 1 + 1e-4  # full scale, and what rounding adds to it
_BLOCK = 1 << 20  # values read at a time
_UNKNOWN = 1 << 62  # libsndfile's number of samples where a FLAC written to a pipe does not know it


def decode_sound(source: Source, form: str, how: Reading) -> Signal:
    """The sound that the input holds, as a batch of one, float32 with full scale 1; where `how` has it so a long one as a
    Long, of which all has been read once, so that nothing is found wrong with it later."""
    parts, name = checked(Raw.of(source), form, source.name), source.name
    held: list[np.ndarray] = []
    kinds, size, long = set(), 0, False
    for rate, block in _every(parts, form, name):
        held.append(block)
        kinds.add((rate, len(block)))
        size += block.nbytes
        long = how.long and size > BATCH_BYTES
        most = how.max_bytes if long else source.item_bytes
        if most is not None and size > most:
            raise LemError(f"{name}: over {most} bytes of sound; raise --max-bytes to read it")
        while long and held:
            check_finite(held.pop()[None], name, 0)
    if not kinds:
        raise LemError(f"{name}: a sound of no length")
    if len(kinds) > 1:
        raise LemError(f"{name}: a chain of {form}s of several rates or channels; name them as files of their own")
    ((rate, channels),) = kinds
    if not long:
        return Signal("audio", np.ascontiguousarray(np.concatenate(held, axis=1))[None], rate=float(rate))
    data: Any = Long(channels, size // (4 * channels), lambda: (block for _, block in _every(parts, form, name)))
    return Signal("audio", cast(np.ndarray, data), rate=float(rate))


def _every(parts: Sequence[Raw], form: str, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, float32 [C, t]) of the pieces of sounds, one sound after another."""
    for raw in parts:
        yield from _blocks(raw, form, name)


def _blocks(raw: Raw, form: str, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """The same of one sound."""
    import soundfile

    cursor = Cursor(raw)
    try:
        with soundfile.SoundFile(cursor) as file:
            file.seekable = lambda: False  # else soundfile seeks after each read, which a FLAC of unknown length cannot
            taken, count = 0, max(1, _BLOCK // file.channels)
            most = file.frames if form == "FLAC" else _UNKNOWN  # its decoder fails at a tag that stands behind them
            while len(block := file.read(min(count, most - taken), dtype="float32", always_2d=True)):
                yield file.samplerate, np.ascontiguousarray(block.T)
                taken += len(block)
            if cursor.error is not None:
                raise cursor.error
            if 0 < taken < file.frames < _UNKNOWN:
                raise LemError(f"{name}: {form} cut short, {taken} of {file.frames} samples")
    except (LemError, MemoryError):
        raise
    except Exception as error:  # soundfile raises its own, RuntimeError, and TypeError on damaged headers
        if cursor.error is not None:
            raise cursor.error from None
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


def clipped(signals: Iterable[Signal], note: Callable[[str], None]) -> Iterator[Signal]:
    """The same batches; behind the last one `note` is called with a line about sounds beyond full scale, if there were any."""
    count, most = 0, 0.0
    for signal in signals:
        if signal.kind == "audio" and isinstance(signal.data, np.ndarray) and signal.data.size:
            peaks = np.abs(signal.data).max((1, 2))
            count, most = count + int((peaks > LOUD).sum()), max(most, float(peaks.max()))
        yield signal
    if count:
        reach = "a sound reaches" if count == 1 else f"{count} sounds reach up to"
        note(f"{reach} {most:.3g} times full scale, to which a FLAC clips; a WAV keeps all of it")


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
