"""A voice in one vector: the speaker embedding of Wan et al. 2018 (GE2E), in the shape that resemblyzer published.

An LSTM of 3 layers and 256 cells reads 40 mel bands at 100 frames a second; the last state of its last layer, through a
linear layer and a ReLU, normalised, stands for 1.6 s of speech, and the normalised mean over such pieces for the whole.
The front end is our own; it computes what the published weights were trained on (a mel power spectrogram as librosa's).
Not done here: resemblyzer's cutting of long silences, which needs webrtcvad.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..device import pick
from ..signal import LemError, Signal
from ..transforms.mel import filters
from .contract import Encoder
from .published import published

RATE = 16_000  # Hz
WINDOW, HOP, BANDS = 400, 160, 40  # samples, samples, mel bands
FRAMES = 160  # of a piece: 1.6 s
LOUDNESS = 10 ** (-30 / 20)  # rms of full scale that quieter sound is raised to


class Voice(Encoder):
    """Audio [N, C, T] at any rate -> embedding [N, 256], rows of norm 1 (all zero for silence), entries >= 0.

    weights: resemblyzer's pretrained.pt, or a safetensors file of the same tensors. overlap as resemblyzer: `pieces` a
    second, the last one kept where sound covers 3/4 of it.
    """

    name = "voice"

    def __init__(self, weights: str | None = None, *, device: str = "cpu", pieces: float = 1.3):
        if weights is None:
            raise LemError("voice needs its weights: --weights FILE (pretrained.pt of the PyPI package Resemblyzer)")
        self.device, self.step = torch.device(pick(device)), round(RATE / pieces / HOP)
        self.net = GE2E().to(self.device).eval()
        self.net.load_state_dict(published(weights, self.net.state_dict(), "resemblyzer's voice encoder"))
        self.bank = torch.from_numpy(filters(BANDS, WINDOW, RATE))

    @torch.inference_mode()
    def encode(self, signal: Signal) -> list[Signal]:
        sound = mono(torch.from_numpy(np.ascontiguousarray(signal.data, np.float32)), signal.rate)
        sound = loud(sound)
        starts = self.starts(sound.shape[1])
        sound = nn.functional.pad(sound, (0, max(0, (starts[-1] + FRAMES) * HOP - sound.shape[1])))
        mels = mel_power(sound, self.bank)
        pieces = torch.stack([mels[:, s : s + FRAMES] for s in starts], 1)  # [N, P, FRAMES, BANDS]
        out = self.net(pieces.flatten(0, 1).to(self.device)).cpu().reshape(len(sound), len(starts), -1).mean(1)
        out = nn.functional.normalize(out, dim=1) * (sound != 0).any(1, keepdim=True)
        return [replace(signal, kind="embedding", data=out.numpy(), rate=None)]

    def starts(self, samples: int) -> list[int]:
        """First frames of the pieces of a sound."""
        frames = -(-(samples + 1) // HOP)
        starts = list(range(0, max(1, frames - FRAMES + self.step + 1), self.step))
        if len(starts) > 1 and samples - starts[-1] * HOP < 0.75 * FRAMES * HOP:
            starts.pop()
        return starts


class GE2E(nn.Module):
    """mels [N, FRAMES, BANDS] -> [N, 256], rows of norm 1."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        _, (state, _) = self.lstm(mels)
        return nn.functional.normalize(torch.relu(self.linear(state[-1])), dim=1)


def mono(sound: torch.Tensor, rate: float | None) -> torch.Tensor:
    """[N, C, T] -> [N, T'] at 16 kHz, channels averaged."""
    if rate is None:
        raise LemError("a sound without its sample rate")
    sound = sound.mean(1)
    if rate == RATE:
        return sound
    from torchaudio.functional import resample

    # a long kernel: what lies just below half the lower rate counts in the upper bands
    return resample(sound, round(rate), RATE, lowpass_filter_width=64)


def loud(sound: torch.Tensor) -> torch.Tensor:
    """Sound [N, T] quieter than -30 dB of full scale raised to that."""
    rms = sound.square().mean(1, keepdim=True).sqrt()
    return sound * (LOUDNESS / rms.clamp_min(1e-9)).clamp_min(1)


def mel_power(sound: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """[N, T] -> [N, 1 + T // HOP, BANDS]: power spectrum of Hann windows centred every HOP, through the filter bank."""
    window = torch.hann_window(WINDOW, dtype=sound.dtype)
    spectrum = torch.stft(sound, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    return (bank @ spectrum.abs().square()).transpose(1, 2)
