"""Photos, and what else people have in their image files, made from them: a folder to train a network for images on.

    python examples/varied-images.py PHOTOS OUT [SEED]

Of N photos, OUT gets the photos twice (as links); and of N others of them, drawn at random, N / 4 each made smaller (a
third to three quarters, sharp) and larger (one and a half to three times, soft), N / 4 out of a JPEG of quality 10 to
70, N / 4 with noise of 3 to 20 levels, N / 2 in a palette of 8 to 256 colours, half of them dithered, and N / 5 as dots of
ink on paper; N / 5 pages of text, N / 5 drawings of flat shapes and lines, N / 5 pages of a comic with screentone, and N / 10
smooth shadings. All but the photos are PNG; each is drawn from SEED, its kind and its number.
"""

import io
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 384  # px: of what is drawn
CROP = 128  # px: no side is shorter
FINE = 4  # ink on paper is drawn so many times larger
WORDS = (
    "remember the whole from a fragment of it while noise and loss take away what was seen before 0123456789 "
    'def return import for in range(len(x)): x[i] += 1; if (a != b) { print("%d\\n", a); } <p> & # @ ~ * /'
).split()


def smaller(photo, rng):
    share = max(rng.uniform(1 / 3, 3 / 4), CROP / min(photo.size))
    return photo.resize([round(n * share) for n in photo.size], Image.Resampling.LANCZOS)


def larger(photo, rng):
    share = rng.uniform(1.5, 3)
    w, h = (min(n, round(480 / share)) for n in photo.size)
    x, y = (int(rng.integers(n - m + 1)) for n, m in zip(photo.size, (w, h)))
    way = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
    return photo.crop((x, y, x + w, y + h)).resize((round(w * share), round(h * share)), int(way))


def compressed(photo, rng):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=int(rng.integers(10, 71)))
    return Image.open(file).convert("RGB")


def noisy(photo, rng):
    values = np.asarray(photo, np.float32)
    grain = rng.normal(0, rng.uniform(3, 20), (*values.shape[:2], int(rng.choice([1, 3]))))
    return Image.fromarray(np.rint(np.clip(values + grain, 0, 255)).astype(np.uint8))


def palette(photo, rng):
    colours = int(np.rint(2 ** rng.uniform(3, 8)))
    way = Image.Dither.FLOYDSTEINBERG if rng.random() < 0.5 else Image.Dither.NONE
    return photo.quantize(palette=photo.quantize(colours), dither=way).convert("RGB")


def screen(shape, rng):
    """A halftone screen of values 0 to 1, drawn FINE times larger than its dots are seen: ink lies where the tone is darker."""
    pitch = FINE * rng.uniform(2.2, 9)
    angle = rng.choice([0, np.pi / 4, np.pi / 4, rng.uniform(0, np.pi)])
    y, x = np.mgrid[: shape[0], : shape[1]] * (2 * np.pi / pitch)
    dots = np.cos(x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.8:
        dots = (dots + np.cos(y * np.cos(angle) - x * np.sin(angle))) / 2
    return (1 + dots) / 2


def halftone(photo, rng):
    """Dots of one ink, or of three whose screens differ, mixed with what they stand for as a scan does."""
    w, h = (max(CROP, round(n * rng.uniform(0.6, 1))) for n in photo.size)
    inks = 3 if rng.random() < 0.6 else 1
    photo = photo.convert("RGB" if inks == 3 else "L").resize((w, h), Image.Resampling.BICUBIC)
    tone = np.asarray(photo.resize((w * FINE, h * FINE), Image.Resampling.BICUBIC), np.float32).reshape(
        h * FINE, w * FINE, -1
    )
    dots = [np.asarray(printed(tone[..., c] > 255 * screen(tone.shape[:2], rng), (w, h)))[..., 0] for c in range(inks)]
    image = Image.merge("RGB", [Image.fromarray(one) for one in (dots if inks == 3 else dots * 3)])
    return Image.blend(photo.convert("RGB"), image, rng.uniform(0.1, 1))


def printed(paper, size):
    """Ink (False) and paper (True) seen at FINE times fewer pixels, in grey."""
    return Image.fromarray(paper.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX).convert("RGB")


def colour(rng, light=None):
    """A random colour; light: near white (True) or near black (False)."""
    low, high = {None: (0, 256), True: (200, 256), False: (0, 80)}[light]
    one = rng.integers(low, high, 3)
    return tuple(int(c) for c in (one if rng.random() < 0.5 else np.full(3, one[0])))


def page(rng):
    light = rng.random() < 0.7
    image = Image.new("RGB", (SIDE, SIDE), (255,) * 3 if light and rng.random() < 0.6 else colour(rng, light))
    draw, y = ImageDraw.Draw(image), int(rng.integers(0, 12))
    inks = [colour(rng, not light), colour(rng, not light), colour(rng)]
    size = int(rng.integers(9, 22))
    while y < SIDE:
        if rng.random() < 0.15:
            size = int(rng.integers(9, 30))
        text = " ".join(rng.choice(WORDS, int(rng.integers(1, 14))))
        x = int(rng.integers(0, 40))
        draw.text((x, y), text, fill=inks[int(rng.choice(3, p=[0.7, 0.2, 0.1]))], font=ImageFont.load_default(size))
        if rng.random() < 0.1:
            draw.line((x, y + size + 2, SIDE - x, y + size + 2), fill=inks[0])
        y += round(size * rng.uniform(1.1, 1.9))
    return image


def drawing(rng):
    scale = int(rng.choice([1, 1, 3]))  # with hard edges, or drawn large and made smaller
    image = Image.new("RGB", (SIDE * scale,) * 2, colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 40))):
        points = [tuple(int(v) for v in p) for p in rng.integers(0, SIDE * scale, (int(rng.integers(2, 6)), 2))]
        kind = rng.random()
        if kind < 0.4:
            draw.line(points, fill=colour(rng), width=scale * int(rng.choice([1, 1, 2, 4, 9])))
        elif kind < 0.6:
            (x, y), radius = points[0], scale * int(rng.integers(3, 90))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(rng), outline=colour(rng))
        elif kind < 0.75:
            (a, b), (c, d) = points[:2]
            draw.rectangle((min(a, c), min(b, d), max(a, c), max(b, d)), fill=colour(rng))
        else:
            draw.polygon(points, fill=colour(rng))
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def comic(rng):
    """Panels of outlined shapes, filled with paper, ink, screentone or hatching, with balloons of text."""
    side = SIDE * FINE
    page = np.ones((side, side), bool)
    y, x = np.mgrid[:side, :side]

    def stencil(kind, points, **options):
        image = Image.new("1", (side, side))
        getattr(ImageDraw.Draw(image), kind)(points, **options)
        return np.asarray(image)

    tones = [screen((side, side), rng) for _ in range(3)]
    for _ in range(int(rng.integers(6, 24))):
        (a, b), radius = rng.integers(0, side, 2), FINE * rng.uniform(10, 120)
        turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        points = [(a + r * np.cos(t), b + r * np.sin(t)) for t, r in zip(turn, radius * rng.uniform(0.4, 1, turn.size))]
        kind = rng.random()
        if kind < 0.4:
            shape = "polygon", points
        elif kind < 0.7:
            shape = "ellipse", (a - radius, b - radius * 0.7, a + radius, b + radius * 0.7)
        else:
            shape = "rectangle", (a - radius, b - radius, a + radius, b + radius)
        inside = stencil(*shape, fill=1)
        edge = stencil(*shape, outline=1, width=FINE * int(rng.choice([1, 1, 2])))
        tone = rng.random()
        if tone < 0.3:
            page[inside] = True
        elif tone < 0.4:
            page[inside] = False
        elif tone < 0.85:
            ramp = rng.uniform(0.3, 0.95) + rng.choice([0, 0.4]) * (y - b) / side
            page[inside] = (ramp > tones[int(rng.integers(3))])[inside]
        else:
            page[inside] = (np.arctan2(y - b, x - a) * rng.integers(20, 90) % 1 > rng.uniform(0.1, 0.4))[inside]
        page[edge] = False
    for _ in range(int(rng.integers(5, 40))):
        knots = np.cumsum(rng.normal(0, 20 * FINE, (4, 2)), 0) + rng.integers(0, side, 2)
        t = np.linspace(0, 1, 30)[:, None]
        curve = sum(n * t**i * (1 - t) ** (3 - i) * knot for i, (n, knot) in enumerate(zip((1, 3, 3, 1), knots)))
        line = stencil("line", [tuple(p) for p in curve], fill=1, width=int(rng.integers(1, 3 * FINE)))
        page[line] = rng.random() < 0.15
    picture = Image.fromarray(page.astype(np.uint8) * 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 4))):
        (a, b), size = rng.integers(0, side, 2), FINE * int(rng.integers(9, 18))
        draw.ellipse((a - 6 * size, b - 3 * size, a + 6 * size, b + 3 * size), fill=255, outline=0, width=FINE)
        for row in range(-2, 2):
            text = " ".join(rng.choice(WORDS, 2))[:18]
            draw.text((a - 4 * size, b + row * size), text, fill=0, font=ImageFont.load_default(size))
    return printed(np.asarray(picture) > 127, (SIDE, SIDE))


def shading(rng):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    values = np.empty((SIDE, SIDE, 3))
    shared = rng.normal(size=(4, 4))
    for c in range(3):
        mixed = shared + rng.uniform(0, 1) * rng.normal(size=(4, 4))
        waves = [np.cos(np.pi * (i * x * rng.uniform(0.5, 2) + j * y)) for i in range(4) for j in range(4)]
        values[..., c] = sum(a / (1 + i) * w for i, (a, w) in enumerate(zip(mixed.ravel(), waves)))
    values = (values - values.min()) / np.ptp(values)
    low, high = np.sort(rng.uniform(0, 255, 2))
    return Image.fromarray(np.rint(low + (high - low) * values).astype(np.uint8))


PHOTOS = {smaller: 1 / 4, larger: 1 / 4, compressed: 1 / 4, noisy: 1 / 4, palette: 1 / 2, halftone: 1 / 5}  # of N
DRAWN = {page: 1 / 5, drawing: 1 / 5, shading: 1 / 10, comic: 1 / 5}


def make(job: tuple) -> None:
    """Write picture number i of a kind."""
    files, folder, seed, kind, i = job
    rng = np.random.default_rng([seed, [*PHOTOS, *DRAWN].index(kind), i])
    if kind in DRAWN:
        image = kind(rng)
    else:
        with Image.open(files[int(rng.integers(len(files)))]) as photo:
            image = kind(photo.convert("RGB"), rng)
    image.save(folder / f"{kind.__name__}-{i:03}.png")


def main(photos: str, out: str, seed: str = "0") -> None:
    files = sorted(p for p in Path(photos).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    folder = Path(out)
    folder.mkdir(parents=True)
    for again in range(2):
        for file in files:
            (folder / f"photo-{again}-{file.name}").symlink_to(file.resolve())
    kinds = {**PHOTOS, **DRAWN}
    jobs = [(files, folder, int(seed), kind, i) for kind in kinds for i in range(round(len(files) * kinds[kind]))]
    with ProcessPoolExecutor() as pool:
        list(pool.map(make, jobs, chunksize=8))


if __name__ == "__main__":
    main(*sys.argv[1:])
