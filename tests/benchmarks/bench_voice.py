"""Who speaks: how often lem-encode --encoder voice takes two recordings rightly for one speaker's or not.

    python tests/benchmarks/bench_voice.py pretrained.pt [FOLDER with fsdd/ and emodb_2s/]

All pairs of recordings; the score of a pair is a cosine. EER: the rate at which as many pairs of one speaker are refused
as pairs of two are taken (chance .5); AUC: the chance that a pair of one speaker scores higher than one of two (chance
.5). Control: the mean log-mel spectrum of a recording, centred over all of them, in place of the network.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lemtools import encode as room  # noqa: E402
from lemtools.encode.voice import BANDS, RATE, WINDOW, Voice, loud, mel_power, mono  # noqa: E402
from lemtools.media import load  # noqa: E402
from lemtools.transforms.mel import filters  # noqa: E402

SETS = {
    "fsdd": ("fsdd/*_[0-4].flac", lambda name: name.split("_")[1]),
    "emodb_2s": ("emodb_2s/flac/*.flac", lambda name: name[:2]),
}


def rates(vectors: np.ndarray, who: np.ndarray) -> tuple[float, float, float, float, int]:
    """(EER, AUC, mean cosine of one speaker's pairs, of two speakers' pairs, number of the former)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    above = np.triu_indices(len(unit), 1)
    score, same = (unit @ unit.T)[above], (who[:, None] == who)[above]
    order = np.argsort(score)
    refused = np.cumsum(same[order]) / same.sum()
    taken = 1 - np.cumsum(~same[order]) / (~same).sum()
    at = np.abs(refused - taken).argmin()
    ranks = np.argsort(order) + 1
    auc = (ranks[same].sum() - same.sum() * (same.sum() + 1) / 2) / (same.sum() * (~same).sum())
    return (refused[at] + taken[at]) / 2, auc, score[same].mean(), score[~same].mean(), int(same.sum())


def main(weights: str, data: str = str(ROOT.parent / "shared" / "data")) -> None:
    voice, bank = Voice(weights), torch.from_numpy(filters(BANDS, WINDOW, RATE))
    print("set\tspeakers\trecordings\tscore\tEER\tAUC\tcosine_same\tcosine_other\tpairs_same")
    for name, (pattern, speaker) in SETS.items():
        files = sorted(map(str, Path(data).glob(pattern)))
        who = np.array([speaker(Path(f).name) for f in files])
        begun = time.process_time()
        vectors = np.concatenate([s.data for s in room.encode(load(files), voice)])
        spent = time.process_time() - begun
        sounds = (loud(mono(torch.from_numpy(s.data), s.rate)) for s in load(files))
        control = torch.cat([mel_power(x, bank).clamp_min(1e-10).log().mean(1) for x in sounds]).numpy()
        for kind, x in (("voice", vectors), ("mean log-mel", control - control.mean(0))):
            eer, auc, alike, other, pairs = rates(x, who)
            print(
                f"{name}\t{len(set(who))}\t{len(who)}\t{kind}\t{eer:.3f}\t{auc:.3f}\t{alike:.3f}\t{other:.3f}\t{pairs}"
            )
        print(
            f"# {name}: {spent:.1f} s of CPU for {len(files)} recordings, {torch.get_num_threads()} threads", flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
