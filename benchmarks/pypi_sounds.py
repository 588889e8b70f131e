"""Synthetic voices, for models of sound whose authors' recordings are not at hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE = 16000
VOWELS = torch.tensor(
    [[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]]
)
"""The first three formants of five vowels, Hz (Peterson and Barney 1952)."""


def voices(
    number: int, samples: int, seed: int, *, pitch: tuple[float, float] = (80, 350)
) -> tuple[Tensor, Tensor]:
    """Return voices that glide from vowel to vowel, some of them in noise, and their pitch.

    Args:
        number: Of voices.
        samples: Of each.
        seed: Of all that is random.
        pitch: The lowest and the highest, Hz.

    Returns:
        Sounds (number, samples) at 16 kHz, and their fundamental frequency at each sample, Hz.
    """
    random = torch.Generator().manual_seed(seed)
    low, high = map(math.log, pitch)
    times = torch.arange(samples) / RATE
    sounds, pitches = [], []
    for _ in range(number):
        middle, depth, rate, size, level = torch.rand(5, generator=random).tolist()
        vibrato = 0.04 * depth * (2 * math.pi * (3 + 4 * rate) * times).sin()
        frequency = (low + (high - low) * middle + vibrato).exp()
        count = max(1, min(40, int(7000 / frequency.max())))
        harmonics = torch.arange(1, count + 1)[:, None] * frequency
        phases = 2 * math.pi * torch.rand(count, 1, generator=random)
        formants = _formants(samples, random) * (0.9 + 0.3 * size)
        gains = sum(1 / (1 + ((harmonics - formant) / 90).square()) for formant in formants)
        waves = (2 * math.pi * harmonics.cumsum(dim=1) / RATE + phases).sin()
        sound = (waves * (gains + 0.02)).sum(dim=0) * _loudness(samples, random)
        noise = torch.randn(samples, generator=random) * sound.std() * 10 ** (-2 + 1.7 * level)
        sounds.append(0.1 * (sound + noise) / (sound.std() + 1e-6))
        pitches.append(frequency)
    return torch.stack(sounds), torch.stack(pitches)


def _glide(points: Tensor, samples: int) -> Tensor:
    """Return (channels, samples) between points (n, channels) at equal distances."""
    return torch.nn.functional.interpolate(points.T[None], samples, mode="linear")[0]


def _formants(samples: int, random: torch.Generator) -> Tensor:
    steps = 2 + samples // 3200
    vowels = VOWELS[torch.randint(len(VOWELS), (steps,), generator=random)].float()
    return _glide(vowels, samples)


def _loudness(samples: int, random: torch.Generator) -> Tensor:
    """Return how loud a voice is at each sample: syllables and, in long sounds, pauses."""
    steps = torch.rand(2 + samples // 1600, 1, generator=random)
    return _glide((1.5 * steps - 0.35).clamp(0.0 if samples > RATE else 0.3), samples)[0]


def mel_filters(count: int, size: int) -> Tensor:
    """Return the weights (count, size // 2 + 1) of mel bands of a spectrum, as librosa has them.

    Slaney's scale, linear below 1 kHz; each band has the same area.
    """
    step, start = 200 / 3, 1000.0
    edge = math.log(6.4) / 27

    def hertz(mel: Tensor) -> Tensor:
        above = start * ((mel - start / step) * edge).exp()
        return torch.where(mel < start / step, mel * step, above)

    highest = start / step + math.log(RATE / 2 / start) / edge
    edges = hertz(torch.linspace(0, highest, count + 2))
    lines = torch.linspace(0, RATE / 2, size // 2 + 1)
    widths = edges.diff()[:, None]
    rising = (lines - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - lines) / widths[1:]
    weights = torch.minimum(rising, falling).clamp(min=0)
    return weights * (2 / (edges[2:] - edges[:-2]))[:, None]


def mel_spectrograms(sounds: Tensor) -> Tensor:
    """Return mel spectrograms (number, frames, 40) of sounds: 25 ms every 10 ms."""
    window = torch.hann_window(400)
    spectra = torch.stft(sounds, 400, 160, window=window, pad_mode="constant", return_complex=True)
    return (mel_filters(40, 400) @ spectra.abs().square()).mT
