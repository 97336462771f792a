"""What memory a long sound takes: `python phones_long.py DATA WORK [MINUTES ...]`.

The English sentences of DATA/ae (see phones.py), one after another over and over, at 16 and at 44.1 kHz in 16 bits, with their text; each is
aligned by lem-encode in a process of its own, whose largest resident memory and CPU time are printed. WORK is a folder for the sounds.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

import phones
from lemtools.encode.sound import resampled
from lemtools.phones.cepstra import RATE

MINUTES = (1, 10, 60)
RATES = (16_000, 44_100)


def written(clips: Sequence[phones.Clip], rate: int, minutes: float, path: Path) -> float:
    """Write the sentences over and over to path (.wav), what is said beside it (.txt); returns the seconds."""
    whole = np.concatenate([clip.sound for clip in clips])
    once = resampled(whole[None, None], RATE, rate)[0, 0]
    times = int(np.ceil(60 * minutes * rate / len(once)))
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for _ in range(times):
            file.write(once)
    text = " ".join(word.text for clip in clips for word in clip.words)
    path.with_suffix(".txt").write_text(times * f"{text}\n", "utf-8")
    return times * len(once) / rate


def aligned(path: Path) -> tuple[float, float]:
    """(largest resident memory in MB, CPU seconds) of lem-encode, start and dictionary included."""
    line = ["-q", "--encoder", "phones", "--text", path.with_suffix(".txt"), "-o", path.with_suffix(".TextGrid"), path]
    code = [sys.executable, "-m", "lemtools.cli.encode", *map(str, line)]
    child = os.posix_spawn(sys.executable, code, os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"lem-encode ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def main(data: Path, work: Path, minutes: Sequence[float]) -> None:
    clips = list(phones.ae(data))
    work.mkdir(parents=True, exist_ok=True)
    print("| rate, Hz | minutes | peak of memory, MB | times real time, one core |")
    print("|---|---|---|---|")
    for rate in RATES:
        for count in minutes:
            path = work / f"{rate}-{count:g}.wav"
            seconds = written(clips, rate, count, path)
            memory, took = aligned(path)
            print(f"| {rate} | {count:g} | {memory:.0f} | {seconds / took:.0f} |", flush=True)
            path.unlink()


if __name__ == "__main__":
    data, work, *minutes = sys.argv[1:]
    main(Path(data), Path(work), [float(count) for count in minutes] or MINUTES)
