"""What a notebook shows of a batch: known pixels and samples come back out of it."""

import base64
import io
import re
import wave

import numpy as np
import pytest
from PIL import Image

from lemtools.fragment import fragment
from lemtools.signal import LemError, Signal

PIXELS = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)


def test_repr_is_one_line():
    whole = Signal("image", PIXELS)
    assert repr(whole) == "<Signal: 2 image items of 3 x 4 x 5 uint8>"
    (broken,) = fragment([whole], [{"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5}])
    assert repr(broken) == "<Signal: 2 image items of 3 x 4 x 5 uint8, bits 3, mask 0.5>"
    (drawn,) = fragment([Signal("image", PIXELS.repeat(20, 0))], [{"op": "bits", "bits": (1, 4)}])
    assert repr(drawn).endswith(" uint8, bits 1-4>")
    sound = Signal("audio", np.zeros((1, 2, 80), np.float32), rate=8000.0)
    assert repr(sound) == "<Signal: 1 audio item of 2 x 80 float32 at 8000 Hz>"
    assert repr(Signal("tokens", np.zeros((0, 3), int))) == "<Signal: 0 tokens items of 3 int64>"


def test_pil_has_the_same_pixels():
    whole = Signal("image", PIXELS)
    assert np.array_equal(np.asarray(whole.pil(1)), PIXELS[1].transpose(1, 2, 0)) and whole.pil().mode == "RGB"
    grey = Signal("image", PIXELS[:, :1] / np.float32(255))
    assert np.array_equal(np.asarray(grey.pil()), PIXELS[0, 0]) and grey.pil().mode == "L"
    assert Signal("image", np.zeros((1, 4, 2, 2), np.uint8)).pil().mode == "RGBA"
    with pytest.raises(LemError, match=r"audio of \[1, 9\] is no picture"):
        Signal("audio", np.zeros((1, 1, 9), np.float32)).pil()


def test_numpy_and_torch():
    torch = pytest.importorskip("torch")
    whole = Signal("image", PIXELS)
    assert whole.numpy() is PIXELS
    tensor = whole.torch()
    assert tensor.dtype == torch.uint8 and np.array_equal(tensor.numpy(), PIXELS)
    tensor += 1
    assert PIXELS[0, 0, 0, 0] == 0


def sources(html: str, kind: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(rf'src="data:{kind};base64,([^"]+)"', html)]


def test_images_are_a_contact_sheet():
    whole = Signal("image", PIXELS, names=["a<b>.png", "b.png"])
    html = whole._repr_html_()
    shown = [np.asarray(Image.open(io.BytesIO(raw))) for raw in sources(html, "image/png")]
    assert np.array_equal(np.stack(shown), PIXELS.transpose(0, 2, 3, 1))
    assert "a&lt;b&gt;.png" in html and "<b>" not in html and "2 image items" in html
    assert whole._repr_png_() is None  # the sheet shows them all
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(whole.take([1])._repr_png_()))), shown[1])
    many = Signal("image", np.zeros((40, 1, 600, 300), np.uint8))._repr_html_()
    assert len(sources(many, "image/png")) == 12 and "and 28 more" in many
    assert Image.open(io.BytesIO(sources(many, "image/png")[0])).size == (96, 192)


def test_sounds_can_be_played():
    samples = np.array([[0, 0.5, -1, 2.0], [1, 0, 0, 0]], np.float32)
    html = Signal("audio", samples[None], rate=8000.0)._repr_html_()
    (raw,) = sources(html, "audio/wav")
    with wave.open(io.BytesIO(raw)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        played = np.frombuffer(file.readframes(4), "<i2").reshape(4, 2).T
    assert np.array_equal(played, np.rint(np.clip(samples, -1, 1) * 32767))


def test_text_is_shown_and_all_else_named():
    text = Signal("tokens", np.frombuffer(b"a <i> \0", np.uint8)[None])
    assert "<pre>a &lt;i&gt; ?</pre>" in text._repr_html_()
    for other in (Signal("embedding", np.zeros((2, 3))), Signal("tokens", np.zeros((1, 3), int))):
        assert "<figure" not in other._repr_html_() and repr(other)[1:-1] in other._repr_html_()
