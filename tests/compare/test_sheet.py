"""The contact sheet: what is pasted where, sizes, captions, errors; pictures of sounds and vectors."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from lemtools.compare.sheet import difference, sheet, sound_picture, vectors_picture

RNG = np.random.default_rng(0)
RED = np.zeros((20, 30, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
WHITE = 255


def boxes(page: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the one rectangle of a colour."""
    ys, xs = np.nonzero((page == colour).all(-1))
    assert len(ys) == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
    return np.ptp(ys) + 1, np.ptp(xs) + 1


def test_small_pictures_grow_by_a_whole_factor_and_large_ones_shrink():
    assert boxes(sheet({"a": [RED]}, cell=100), (255, 0, 0)) == (60, 90)
    assert boxes(sheet({"a": [RED]}, cell=15), (255, 0, 0)) == (10, 15)
    assert boxes(sheet({"a": [RED]}, cell=30), (255, 0, 0)) == (20, 30)


def test_pixels_are_copied_exactly():
    x = RNG.integers(0, 200, (28, 28)).astype(np.uint8)
    page = sheet({"original": [x]}, cell=56)
    ys, xs = np.nonzero((page < 200).all(-1))
    bottom, right = ys.max() + 1, xs.max() + 1
    assert (page[bottom - 56 : bottom, right - 56 : right] == np.kron(x, np.ones((2, 2), np.uint8))[..., None]).all()


def test_rows_columns_and_missing_places():
    green = RED[..., [1, 0, 2]]
    page = sheet({"original": [RED, RED], "recalled": [green, None]}, cell=30)
    reds = (page == (255, 0, 0)).all(-1)
    greens = (page == (0, 255, 0)).all(-1)
    assert reds.sum() == 2 * 600 and greens.sum() == 600
    assert np.nonzero(greens)[1].min() > np.nonzero(reds)[1].max()
    assert np.nonzero(greens)[0].max() < np.nonzero(reds)[0].max()
    assert (page[:8] == WHITE).all() and (page[-8:] == WHITE).all() and (page[:, :8] == WHITE).all()


def test_captions_are_drawn_and_add_height():
    plain = sheet({"": [RED]}, cell=30)
    assert {tuple(c) for c in plain.reshape(-1, 3)} == {(255, 255, 255), (255, 0, 0)}
    full = sheet(
        {"original \u2026 a very long caption indeed": [RED]},
        row_names=["kodim03 \u4e2d.png"],
        notes={"original \u2026 a very long caption indeed": ["30.1 dB"]},
        title="t",
        cell=30,
    )
    assert full.shape[0] > plain.shape[0] + 40
    ink = ((full != WHITE).any(-1) & ~(full == (255, 0, 0)).all(-1)).sum()
    assert ink > 60
    assert (full[:, -8:] == WHITE).all()


def test_margins_and_gaps_are_the_same_everywhere():
    for rows in (1, 3):
        page = sheet({"": [RED] * rows, "b": [RED] * rows}, cell=30)
        ys, xs = (np.unique(i) for i in np.nonzero((page == (255, 0, 0)).all(-1)))
        margin = page.shape[1] - 1 - xs[-1]
        assert page.shape[0] - 1 - ys[-1] == margin == xs[0]
        gaps = [*np.diff(xs), *np.diff(ys)]
        assert set(gaps) == {1, 9}  # 8 pixels between pictures
        titled = sheet({"": [RED] * rows, "b": [RED] * rows}, cell=30, title="a title that is longer than the page")
        assert titled.shape[0] - page.shape[0] == 15 + 8  # a line of text and a gap
        assert (titled[:, -margin:] == WHITE).all() and (titled[:, :margin] == WHITE).all()


def drawn(text):
    """The text as Pillow draws it on white, without a margin."""
    box = ImageFont.load_default_imagefont().getmask(text, "1")
    return np.asarray(box, bool).reshape(box.size[::-1])


def test_text_is_whole_where_there_is_room_and_cut_where_there_is_not():
    """Title, captions, names of rows and notes: each at its place, as long as its own width lets it be."""
    wide = np.full((40, 150, 3), WHITE, np.uint8)
    words = {
        "title": "what came back",
        "left": "original",
        "right": "recalled",
        "row": "kodim03.png",
        "note": "30.1 dB",
    }
    notes = {"recalled": [words["note"]]}
    page = sheet(
        {"original": [wide], "recalled": [wide]}, row_names=[words["row"]], notes=notes, title=words["title"], cell=150
    )
    ink = (page != WHITE).any(-1)
    head = 16 + 15 + 8  # margin, a line, a gap
    top = head + 15 + 4
    places = {"title": (16, 16), "left": (head, 16), "right": (head, 16 + 150 + 8), "row": (top, 16)}
    places["note"] = (top + 15 + 40 + 2, 16 + 150 + 8)
    for name, (y, x) in places.items():
        text = drawn(words[name])
        assert text.any() and np.array_equal(ink[y : y + text.shape[0], x : x + text.shape[1]], text), name
        ink[y : y + text.shape[0], x : x + text.shape[1]] = False
    assert not ink.any()
    long = "a text that is far longer than there is room for in any place of the page " * 2
    page = sheet({"": [wide], long: [wide]}, row_names=[long], notes={long: [long]}, title=long, cell=150)
    ink, letter = (page != WHITE).any(-1), drawn("m").shape[1]
    for y, end in (
        (16, page.shape[1] - 16),
        (head, page.shape[1] - 16),
        (top, page.shape[1] - 16),
        (top + 57, page.shape[1] - 16),
    ):
        last = np.nonzero(ink[y : y + 12].any(0))[0].max()
        assert end - 3 * letter < last < end


def test_png_in_file_and_path(tmp_path):
    stream = io.BytesIO()
    page = sheet({"a": [RED]}, stream)
    sheet({"a": [RED]}, tmp_path / "sheet.png")
    assert stream.getvalue() == (tmp_path / "sheet.png").read_bytes()
    assert stream.getvalue()[:8] == b"\x89PNG\r\n\x1a\n"
    np.testing.assert_array_equal(np.asarray(Image.open(stream)), page)


def test_difference():
    a, b = np.array([[10, 200, 100]], np.uint8), np.array([[12, 100, 99]], np.uint8)
    np.testing.assert_array_equal(difference(a, b, gain=4), [[8, 255, 4]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sheet({}), "same number of pictures"),
        (lambda: sheet({"a": [], "b": []}), "same number of pictures"),
        (lambda: sheet({"a": [RED], "b": [RED, RED]}), "'a': 1, 'b': 2"),
        (lambda: sheet({"a": [RED / 255]}), "uint8"),
        (lambda: sheet({"a": [RED.transpose(2, 0, 1)]}), r"\(3, 20, 30\)"),
        (lambda: sheet({"a": [RED[:0]]}), r"a picture is uint8 .* \(0, 30, 3\)"),
        (lambda: sheet({"a": [RED[:, :0, 0]]}), r"a picture is uint8 .* \(20, 0\)"),
        (lambda: sheet({"a": [RED[..., :2]]}), r"a picture is uint8 .* \(20, 30, 2\)"),
        (lambda: sheet({"a": [RED[None]]}), r"a picture is uint8 .* \(1, 20, 30, 3\)"),
        (lambda: sheet({"a": [RED.astype(np.uint16)]}), r"a picture is uint8 .* uint16"),
        (lambda: difference(RED, RED[:5]), r"\(20, 30, 3\).*\(5, 30, 3\)"),
        (lambda: sound_picture(np.zeros(9), 8000), r"\[C,T\]"),
        (lambda: vectors_picture(np.zeros((2, 3, 4))), r"\[L,D\]"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("rate, seconds", [(8000, 1.0), (44100, 0.5), (16000, 0.001)])
def test_sound_picture_shows_a_sine_at_its_frequency(rate, seconds):
    t = np.arange(int(rate * seconds)) / rate
    picture = sound_picture(np.sin(2 * np.pi * rate / 8 * t)[None], rate, width=64, height=64)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    brightest = picture.astype(int).sum(-1)[:, 32].argmax()
    assert abs(brightest - 48) <= 1  # an eighth of the rate is a quarter of the way up
    assert sound_picture(np.zeros((2, 100)), rate).max() <= 16


def test_vectors_picture():
    strip = vectors_picture(np.array([-1.0, 0.0, 1.0]))
    assert strip.shape == (96, 3, 3)
    blue, white, red = strip[0].astype(int)
    assert blue[2] > blue[0] + 80 and red[0] > red[2] + 80 and white.min() >= 245
    assert vectors_picture(np.zeros(600), width=256).shape == (96, 256, 3)
    assert vectors_picture(np.ones((200, 7))).shape == (200, 7, 3)
    half = vectors_picture(np.array([0.5]), scale=1.0)
    assert vectors_picture(np.array([1.0]), scale=1.0)[0, 0, 1] < half[0, 0, 1] < 250
