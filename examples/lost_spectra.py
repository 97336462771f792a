"""Lost coefficients of spectra: `python lost_spectra.py DATA [bits]`, with DATA/esc10 or DATA/fsdd.

Every sound becomes an STFT (Hann window, hop of a quarter of it: 23 ms of ESC-10, 32 ms of FSDD), loses coefficients, is
recalled and decoded. ESC-10: every 20th clip of folds 1 to 4, its loudest half second, at
22.05 kHz; FSDD: every 20th of takes 2 to 7. Printed is the SNR of the decoded sound in dB, the mean over sounds, by

    zeros           what is lost is 0 (--method decode): the control
    inpaint         each channel inpainted as a picture (--method inpaint)
    least squares   the same, with the samples that no frame holds left silent
    default         least squares, and these samples filled from the sound around them

and the default's gain over zeros with its 95 % interval over sounds. Of bits, `zeros` is the middle of the bin.

With `bits`: what spectra of 2 to 8 bits are worth by the scale and the quantiser: SNR in dB of the complex spectrum in the
middle of its bins, of the sound that this decodes to, of the sound that the default recalls; and of a log-mel spectrum (40
bands) in the middle of its bins.
"""

import math
import sys
from pathlib import Path

import numpy as np

from lemtools.cli.fragment import losses
from lemtools.denoise.moments import student_t
from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.restore import least_squares
from lemtools.signal import Signal
from lemtools.transforms import Front, of
from lemtools.transforms.short import ShortTime

LOSSES = (
    "--mask .25",
    "--mask .5",
    "--mask .75",
    "--mask .2 --mask-shape span:20ms",
    "--mask .2 --mask-shape span:50ms",
    "--mask .2 --mask-shape band:500hz",
    "--mask .2 --mask-shape patch:500hzx50ms",
    "--lowpass 2000",
    "--bits 4",
    "--bits 8",
    "--mask .2 --mask-shape span:50ms --bits 4",
    "--mask .2 --mask-shape span:50ms --bits 8",
)

SCALES = ("", "--scale peak", "--quantizer lloyd-max", "--scale peak --quantizer lloyd-max")


def sounds(folder: Path) -> list[tuple[np.ndarray, float, int]]:
    """(sound [1, 1, T], rate, window) of a data set."""
    found = []
    if folder.name == "fsdd":
        paths = sorted(p for p in folder.glob("*.flac") if p.stem[-1] in "234567")[::20]
    else:
        paths = sorted(p for p in folder.rglob("*.ogg") if p.name[0] in "1234")[::20]
    for path in paths:
        (clip,) = load([str(path)])
        x, rate = clip.data[:, :1], float(clip.rate or 0)
        if folder.name == "esc10":
            if rate > 30000:
                x, rate = halved(x), rate / 2
            power = np.convolve(x[0, 0].astype(np.float64) ** 2, np.ones(int(rate / 2)), "valid")
            x = x[..., int(power.argmax()) :][..., : int(rate / 2)]
        found.append((np.ascontiguousarray(x), rate, 512 if folder.name == "esc10" else 256))
    return found


def halved(x: np.ndarray) -> np.ndarray:
    """Every other sample, once all above a quarter of the rate is cut."""
    (low,) = fragment([Signal("audio", x, rate=4.0)], [{"op": "downsample", "factor": 2}])
    return low.data


def snr(x: np.ndarray, y: np.ndarray) -> float:
    """In dB."""
    power, error = (float(np.square(v, dtype=np.float64).sum()) for v in (x, x.astype(np.float64) - y))
    return 10 * math.log10(power / max(error, 1e-30 * power))


def spectrum(front: Front, x: np.ndarray) -> Signal:
    """That of one sound, with the record of what made it."""
    record = {"tool": "lem-encode", **front.record}
    return Signal("spectrum", front.encode(x), rate=float(front.rate), history=[record])


def scores(x: np.ndarray, rate: float, window: int, loss: str) -> dict[str, float]:
    """SNR of one sound, by means."""
    front = ShortTime("stft", rate, x.shape[-1], window, window // 4)
    (broken,) = fragment([spectrum(front, x)], losses(loss))
    found = {}
    for name, method in (("zeros", "decode"), ("inpaint", "inpaint"), ("least squares", "auto"), ("default", "auto")):
        fill = least_squares.fill_gaps
        if name == "least squares":
            least_squares.fill_gaps = lambda y, seen, rate: y
        try:
            (back,) = reconstruct([broken], method)
        finally:
            least_squares.fill_gaps = fill
        found[name] = snr(x, front.decode(back.data))
    return found


def worth(x: np.ndarray, rate: float, window: int, loss: str) -> list[float]:
    """SNR of one sound whose spectra were quantised: of these, of what they decode to, recalled; of log-mels."""
    front = ShortTime("stft", rate, x.shape[-1], window, window // 4)
    whole = spectrum(front, x)
    (broken,) = fragment([whole], losses(loss))
    (back,) = reconstruct([broken])
    settings = {"n_fft": window, "hop": window // 4, "window_fn": "hann", "bands": 40}
    mels = spectrum(of({"encoder": "log-mel", "rate": rate, "samples": x.shape[-1], **settings}), x)
    (coarse,) = fragment([mels], losses(loss))
    heard = [snr(x, front.decode(s.data)) for s in (broken, back)]
    return [snr(whole.data, broken.data), *heard, snr(mels.data, coarse.data)]


def bits(there: list[tuple[np.ndarray, float, int]]) -> None:
    """The table of quantised spectra."""
    print("| | spectrum | decoded | recalled | log-mel |\n|---|---|---|---|---|")
    for scale in SCALES:
        for depth in (2, 4, 6, 8):
            loss = f"--bits {depth} {scale}".strip()
            cells = " | ".join(f"{v:.1f}" for v in np.mean([worth(*sound, loss) for sound in there], axis=0))
            print(f"| `{loss}` | {cells} |", flush=True)


def main() -> None:
    folder = Path(sys.argv[1])
    for name in ("esc10", "fsdd"):
        if not (folder / name).is_dir():
            continue
        there = sounds(folder / name)
        print(f"{name}, {len(there)} sounds\n")
        if sys.argv[2:] == ["bits"]:
            bits(there)
            continue
        print("| | zeros | inpaint | least squares | default | gain [95 %] |")
        print("|---|---|---|---|---|---|")
        for loss in LOSSES:
            rows = [scores(*sound, loss) for sound in there]
            means = [float(np.mean([row[k] for row in rows])) for k in rows[0]]
            gains = np.array([row["default"] - row["zeros"] for row in rows])
            half = student_t(0.95, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains))
            cells = " | ".join(f"{m:.1f}" for m in means)
            print(
                f"| `{loss}` | {cells} | +{gains.mean():.1f} [{gains.mean() - half:+.1f}, {gains.mean() + half:+.1f}] |"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
