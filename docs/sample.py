"""Draws the sample photo that stands in for yours: a traffic light at dusk.

    python docs/sample.py service/web/sample.jpg

The project may ship no photograph of ImageNet's, so the README's `curl` line and the service's greeting use a
picture that nobody owns: it is drawn here, from these numbers, and a trained network knows what it shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = (640, 640)  # pixels; drawn once, encoded once
DUSK_TOP, DUSK_BOTTOM = (58, 74, 112), (232, 172, 138)  # RGB of the sky
LAMPS = {(255, 62, 40): 148, (70, 58, 22): 292, (18, 60, 34): 436}  # RGB -> height of the centre: red is on
RADIUS = 58


def sky() -> Image.Image:
    """Return the evening sky: one gradient from top to bottom."""
    gradient = Image.linear_gradient("L").resize(SIZE)  # black on top, white below
    return Image.composite(Image.new("RGB", SIZE, DUSK_BOTTOM), Image.new("RGB", SIZE, DUSK_TOP), gradient)


def light() -> Image.Image:
    """Return the picture: sky, a street out of focus, the signal before it, the glow of the lamp that is on."""
    picture = sky()
    draw = ImageDraw.Draw(picture)
    for left, top, right in ((-10, 420, 120), (110, 350, 210), (450, 390, 540), (530, 300, 660)):
        draw.rectangle((left, top, right, 640), fill=(62, 58, 78))
        for x in range(left + 18, right - 18, 26):
            for y in range(top + 24, 630, 44):
                if (x * 7 + y * 3) % 5 < 2:  # some windows are lit
                    draw.rectangle((x, y, x + 10, y + 16), fill=(244, 206, 128))
    picture = picture.filter(ImageFilter.GaussianBlur(4))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((304, 540, 336, 640), fill=(34, 36, 40))
    draw.rounded_rectangle((218, 52, 422, 540), radius=36, fill=(24, 26, 30), outline=(52, 54, 60), width=6)
    for colour, y in LAMPS.items():
        draw.ellipse((320 - 70, y - 70, 320 + 70, y + 70), fill=(10, 11, 13))  # the hood's shadow
        draw.ellipse((320 - RADIUS, y - RADIUS, 320 + RADIUS, y + RADIUS), fill=colour)
    (red, height), *_ = LAMPS.items()
    glow = Image.new("L", SIZE, 0)
    ImageDraw.Draw(glow).ellipse((320 - 80, height - 80, 320 + 80, height + 80), fill=120)
    return Image.composite(Image.new("RGB", SIZE, red), picture, glow.filter(ImageFilter.GaussianBlur(36)))


if __name__ == "__main__":
    light().save(Path(sys.argv[1]), quality=88, optimize=True)
