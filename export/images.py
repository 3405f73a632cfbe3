"""Images to verify with: seeded, made here, and varied enough that a trained network answers many classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def synthetic_images(count: int, side: int, seed: int) -> Pixels:
    """Return images with the structure of photos: things in front of things, and texture.

    White noise would not do: a trained network answers all of it with the same few classes, so that a comparison
    says little. The first image is black and the last one white, for the ends of the range.

    Returns:
        Pixels (count, side, side, 3).
    """
    rng = np.random.default_rng(seed)
    images = np.stack(list(_draw(rng, count, side)))
    images[0], images[-1] = 0, 255
    return images


def _draw(rng: np.random.Generator, count: int, side: int) -> Iterator[Pixels]:
    for _ in range(count):
        picture = _dead_leaves(rng, side) + rng.uniform(0, 40) * _texture(rng, side)
        yield picture.round().clip(0, 255).astype(np.uint8)


def _dead_leaves(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Return (side, side, 3): discs covering one another, many small and few large.

    The density of radii falls as their cube, which makes the picture look the same at every scale, as photos do
    (Lee, Mumford & Huang 2001, *Occlusion Models for Natural Images*).
    """
    y, x = np.mgrid[:side, :side]
    background, contrast = rng.uniform(0, 255, 3), rng.uniform(10, 120)
    picture = np.tile(background, (side, side, 1))  # (side, side, 3)
    smallest, largest = side / 22, side / 2
    for quantile in rng.uniform(size=rng.integers(3, 40)):
        # The inverse of the distribution function of a density r⁻³ between the two.
        radius = ((1 - quantile) / smallest**2 + quantile / largest**2) ** -0.5
        centre_x, centre_y = rng.uniform(0, side, 2)
        inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
        picture[inside] = background + contrast * rng.standard_normal(3)
    return picture


def _texture(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Return (side, side, 1) of mean 0 and deviation 1: noise whose amplitude falls as the inverse of frequency.

    So does that of photos (Field 1987, *Relations between the statistics of natural images and the response
    properties of cortical cells*).
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])  # (side, side // 2 + 1)
    frequency[0, 0] = np.inf  # no constant part
    noise = np.fft.rfft2(rng.standard_normal((side, side))) / frequency
    texture: NDArray[np.float64] = np.fft.irfft2(noise, s=(side, side))
    texture /= texture.std()
    return texture[..., None]
