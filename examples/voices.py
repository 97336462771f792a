"""Labels of acted speech, and the same utterances by a synthesiser whose emotions are one set of rules: stages of voices.sh.

    python examples/voices.py labels DATA OUT     OUT/labels.tsv: name, emotion, speaker, sex, sentence
    python examples/voices.py speak DATA OUT      OUT/rules/*.wav and OUT/halved/*.wav, and their rows in OUT/labels.tsv
    python examples/voices.py add SYNTHETIC OUT   the rows of SYNTHETIC/labels.tsv in OUT/labels.tsv
    python examples/voices.py without NAMES OUT   features, separated by commas, taken out of OUT/*.prosody.safetensors

DATA: a folder of recordings. Their labels are DATA/labels.tsv where that is there, with these columns; else the names are
those of Emo-DB (Burkhardt et al. 2005), as 03a01Fa.wav: speaker 03, sentence a01, F for Freude.

speak: espeak-ng (PyPI espeakng-loader) says each (speaker, emotion, sentence) of Emo-DB once, in German, a voice for every
speaker, five of them female. RULES were fixed before anything was measured, and are the same for both sexes: whatever
differs between the sexes in these sounds is made by the voices and by the measure, not by emotion. In `halved` the men
have half of what a rule changes: a difference that a test should find.
"""

import csv
import ctypes
import re
import sys
from pathlib import Path

import numpy as np
import soundfile

EMOTIONS = dict(W="anger", L="boredom", E="disgust", A="fear", F="happiness", T="sadness", N="neutral")
MALE = ("03", "10", "11", "12", "15")
VOICES = dict(zip((*MALE, "08", "09", "13", "14", "16"), "m1 m2 m3 m4 m6 f1 f2 f3 f4 f5".split()))
COLUMNS = "name emotion speaker sex sentence".split()
SECONDS = 2.0  # the recordings that are to be had are cut there
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
RULES = {  # words a minute, pitch, its range, volume; 50, 50 and 100 are espeak-ng's usual ones
    "neutral": (160, 50, 50, 100),
    "anger": (185, 65, 75, 150),
    "happiness": (175, 65, 80, 120),
    "fear": (195, 75, 35, 100),
    "sadness": (125, 40, 25, 70),
    "boredom": (130, 40, 30, 90),
    "disgust": (140, 45, 45, 100),
}
PARAMETERS = (1, 3, 4, 2)  # of espeak_SetParameter, in the order of RULES


def labels(data: Path, out: Path) -> None:
    """Write OUT/labels.tsv."""
    rows = given(data) if (data / "labels.tsv").exists() else [named(path) for path in recordings(data)]
    write(out, rows)
    print(f"{len(rows)} recordings of {len({row['speaker'] for row in rows})} speakers", file=sys.stderr)


def add(other: Path, out: Path) -> None:
    """Take the rows of another set into OUT/labels.tsv."""
    if not (other / "labels.tsv").exists():
        raise SystemExit(f"voices.py: error: {other}: no labels.tsv, with the columns {', '.join(COLUMNS)}")
    write(out, read(out) + given(other))


def without(names: str, out: Path) -> None:
    """Take features out of the prosody of all sets in OUT."""
    from lemtools.media import Target, load, save

    for path in sorted(out.glob("*.prosody.safetensors")):
        batches = list(load([str(path)]))
        for batch in batches:
            entry = batch.history[-1]
            features, dropped = entry["features"], names.split(",")
            if unknown := [name for name in dropped if name not in features]:
                raise SystemExit(f"voices.py: error: no feature {unknown[0]}; there are {', '.join(features)}")
            kept = [i for i, name in enumerate(features) if name not in dropped]
            batch.data = np.ascontiguousarray(batch.data[:, kept])
            for key in ("features", "units"):
                entry[key] = [entry[key][i] for i in kept]
        save(batches, Target(str(path)))


def recordings(data: Path) -> list[Path]:
    found = sorted(p for p in data.rglob("*") if p.suffix in (".wav", ".flac"))
    if not found:
        raise SystemExit(f"voices.py: error: {data}: no .wav and no .flac")
    return found


def given(data: Path) -> list[dict]:
    with open(data / "labels.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if missing := set(COLUMNS) - set(rows[0] if rows else ()):
        raise SystemExit(f"voices.py: error: {data}/labels.tsv: no column {', '.join(sorted(missing))}")
    return [{column: row[column] for column in COLUMNS} for row in rows]


def named(path: Path) -> dict:
    parts = re.fullmatch(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]?", path.stem)
    if parts is None:
        raise SystemExit(f"voices.py: error: {path.name}: no name of Emo-DB; write {path.parent}/labels.tsv")
    speaker, sentence, letter = parts.groups()
    sex = "male" if speaker in MALE else "female"
    return dict(name=path.stem, emotion=EMOTIONS[letter], speaker=speaker, sex=sex, sentence=sentence)


def read(out: Path) -> list[dict]:
    with open(out / "labels.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write(out: Path, rows: list[dict]) -> None:
    with open(out / "labels.tsv.part", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (out / "labels.tsv.part").rename(out / "labels.tsv")


def speak(data: Path, out: Path) -> None:
    """Write OUT/rules and OUT/halved, a sound for each emotion of Emo-DB that a speaker has of a sentence, and their labels."""
    rows = [row for row in read(out) if not row["name"].startswith(("rules-", "halved-"))]
    ours = all(row["speaker"] in VOICES and row["sentence"] in SENTENCES for row in rows)
    twins = sorted({(row["speaker"], row["emotion"], row["sentence"]) for row in rows})
    if not ours:  # other recordings than Emo-DB's
        twins = [(s, e, t) for s in VOICES for e in RULES for t in SENTENCES]
    espeak = Espeak()
    for kind in ("rules", "halved"):
        (out / kind).mkdir(exist_ok=True)
        for speaker, emotion, sentence in twins:
            name, male = f"{kind}-{speaker}-{sentence}-{emotion}", speaker in MALE
            labels = (name, emotion, f"{kind}-{speaker}", "male" if male else "female", sentence)
            rows.append(dict(zip(COLUMNS, labels)))
            rule = RULES[emotion]
            if kind == "halved" and male:
                rule = tuple(round((a + b) / 2) for a, b in zip(rule, RULES["neutral"]))
            sound = espeak.say(SENTENCES[sentence], f"de+{VOICES[speaker]}", rule)
            soundfile.write(out / kind / f"{name}.wav", sound[: int(SECONDS * espeak.rate)], espeak.rate)
    write(out, rows)
    print(f"{len(twins)} sounds of {len(VOICES)} voices by rules", file=sys.stderr)


class Espeak:
    """The library, through its C interface (speak_lib.h)."""

    def __init__(self):
        try:
            import espeakng_loader
        except ImportError:
            raise SystemExit("voices.py: error: espeak-ng is not there: pip install espeakng-loader") from None
        self.library, self.parts = ctypes.CDLL(espeakng_loader.get_library_path()), []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.heard = kind(self._hear)  # (kept: the library calls it later)
        self.rate = self.library.espeak_Initialize(2, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        if self.rate <= 0:
            raise SystemExit("voices.py: error: espeak-ng does not start")
        self.library.espeak_SetSynthCallback(self.heard)

    def _hear(self, wave, count, events) -> int:
        if wave and count:
            self.parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, rule: tuple[int, ...]) -> np.ndarray:
        """int16 [T]."""
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"voices.py: error: espeak-ng has no voice {voice}")
        for parameter, value in zip(PARAMETERS, rule):
            self.library.espeak_SetParameter(parameter, value, 0)
        if hasattr(self.library, "espeak_ng_SetRandSeed"):  # of the breath of some voices
            self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self.parts.clear()
        raw = text.encode() + b"\0"
        self.library.espeak_Synth(raw, len(raw), 0, 1, 0, 1, None, None)
        self.library.espeak_Synchronize()
        return np.concatenate(self.parts)


if __name__ == "__main__":
    stage, what, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if stage == "without":
        without(what, out)
    else:
        {"labels": labels, "speak": speak, "add": add}[stage](Path(what), out)
