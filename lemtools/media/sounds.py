"""Sounds by libsndfile (soundfile), and WAV for pipes by hand: bytes -> [C, T] and back."""

import io

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source

_BLOCK = 1 << 20  # samples read at a time
_UNKNOWN = 1 << 62  # libsndfile's number of samples where a FLAC written to a pipe does not know it


def decode_sound(source: Source, form: str) -> Signal:
    """The sound that the input holds, as a batch of one, float32 with full scale 1."""
    raw = source.rest()
    check = {"WAV": mend_wav_sizes, "OGG": _check_ogg_end, "MP3": _check_mp3_end}.get(form)
    if check is not None:
        check(raw, source.name)
    import soundfile

    blocks, taken = [], 0
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            file.seekable = lambda: False  # else soundfile seeks after each read, which a FLAC of unknown length cannot
            rate = file.samplerate
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
                taken += block.nbytes
                if taken > source.max_bytes:
                    raise LemError(
                        f"{source.name}: over {source.max_bytes} bytes of sound; raise --max-bytes to read it"
                    )
            if taken and sum(map(len, blocks)) < file.frames < _UNKNOWN:
                raise LemError(f"{source.name}: {form} cut short, {sum(map(len, blocks))} of {file.frames} samples")
    except (LemError, MemoryError):
        raise
    except Exception as error:  # soundfile raises its own, RuntimeError, and TypeError on damaged headers
        text = str(error).split(": ")[-1].strip(" .")[:80]
        raise LemError(f"{source.name}: not a readable {form} ({text})") from error
    if not taken:
        raise LemError(f"{source.name}: a sound of no length")
    return Signal("audio", np.ascontiguousarray(np.concatenate(blocks).T)[None], rate=float(rate))


def mend_wav_sizes(raw: np.ndarray, name: str) -> None:
    """Where a WAV written to a pipe does not know its length (0, or 2 GiB and more), let it end where the bytes end."""
    if raw[:4].tobytes() == b"RF64":  # its length stands in 64 bits in the chunk ds64, which is the first
        size, at = int.from_bytes(raw[28:36].tobytes(), "little"), raw.tobytes().find(b"data") + 8
        if at < 8 or size > len(raw) - at:
            raise LemError(f"{name}: WAV cut short, {max(len(raw) - at, 0)} of {size} bytes")
    if raw[:4].tobytes() != b"RIFF":  # RIFX counts from the other end
        return
    whole, at = _size(raw, 4), 12
    if raw[8 + whole : 12 + whole].tobytes() == b"RIFF":
        raise LemError(f"{name}: several WAVs in a row, of which only the first would be read; name the files instead")
    while at + 8 <= len(raw):
        size, here = _size(raw, at + 4), len(raw) - at - 8
        if raw[at : at + 4].tobytes() == b"data":
            if (size >= 0x7FFFF000 and size > here) or (size == 0 and whole != len(raw) - 8):
                for place, value in ((at + 4, here), (4, len(raw) - 8)):
                    raw[place : place + 4] = np.frombuffer(value.to_bytes(4, "little"), np.uint8)
            elif size > here:
                raise LemError(f"{name}: WAV cut short, {here} of {size} bytes")
            return
        at += 8 + size + size % 2
    raise LemError(f"{name}: WAV cut short, or damaged: it has no samples")


def _size(raw: np.ndarray, at: int) -> int:
    return int.from_bytes(raw[at : at + 4].tobytes(), "little")


def _check_ogg_end(raw: np.ndarray, name: str) -> None:
    """libsndfile ends a cut OGG at its last whole page and says nothing; the true last page is marked (RFC 3533, 6)."""
    at = raw.tobytes().rfind(b"OggS")
    lacing = raw[at + 27 : at + 27 + int(raw[at + 26])] if at + 26 < len(raw) else None
    if lacing is None or not raw[at + 5] & 4 or len(raw) < at + 27 + len(lacing) + int(lacing.sum()):
        raise LemError(f"{name}: OGG cut short (its last page is missing)")


def _check_mp3_end(raw: np.ndarray, name: str) -> None:
    """Most MP3s say in their first frame, under Xing or Info, how many bytes they have; libsndfile ends earlier."""
    head = raw[:10].tobytes()
    start = 0
    if head[:3] == b"ID3":  # its size: 7 bits a byte
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    frame = raw[start : start + 64].tobytes()
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or at + 8 > len(frame) or not frame[at + 7] & 2:
        return
    at += 8 + 4 * (frame[at + 7] & 1)
    size = int.from_bytes(frame[at : at + 4], "big")
    if size > len(raw) - start:
        raise LemError(f"{name}: MP3 cut short, {len(raw) - start} of {size} bytes")


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
