"""Mistakes of a user of the library: each is one line that says, in keywords, what there is."""

import inspect
import pydoc
import warnings

import numpy as np
import pytest
from PIL import Image

import lemtools as L
from lemtools import LemError
from lemtools.front.words import spoken

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (9, 13, 3), np.uint8)
X = RNG.standard_normal((8, 16)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("e.png")


MISTAKES = [
    # words that there are not
    (lambda: L.load(X, foo=3), "no keyword of load 'foo'; there are rate, key"),
    (lambda: L.load("e.png", gray=True), r"did you mean grey\?"),
    (lambda: L.load("e.png", kind="smell"), "no kind 'smell'"),
    (lambda: L.save(X, "x.npy", too="npy"), "no keyword of save 'too'"),
    (lambda: L.fragment(RGB, bit=3), r"no loss 'bit'; there are bits, .*did you mean bits"),
    (lambda: L.fragment(RGB, [{"op": "mask", "mask": 0.5, "shpe": "rows"}]), "no parameter of mask 'shpe'"),
    (lambda: L.fragment(RGB, "--bist 3"), "bist"),
    (lambda: L.fragment(RGB, "bits 3"), "bits 3"),
    (lambda: L.reconstruct("e.png", foo=3), "no keyword of method auto 'foo'; there are tile, device"),
    (lambda: L.reconstruct("e.png", samples=3), "samples is for method recall, .*not auto"),
    (lambda: L.reconstruct("e.png", "smoth"), "no method 'smoth'"),
    (lambda: L.encode(RGB, "patches", sise=8), r"no keyword of encoder patches 'sise'.*did you mean size"),
    (lambda: L.encode(X, "pca", dims=4, size=8), "size is for encoder patches, not pca"),
    (lambda: L.compare(X, X, foo=3), "no keyword of compare 'foo'"),
    (lambda: L.compare(X, X, by="nam"), "no value of by 'nam'"),
    (lambda: L.compare(X, X, where="lost"), "no value of where 'lost'"),
    (lambda: L.train("feedforward", X, "m.safetensors", stps=3), r"did you mean steps"),
    (lambda: L.train("feedforwrd", X, "m.safetensors"), "no recipe 'feedforwrd'"),
    (lambda: L.compare("e.png"), "missing a required argument: 'recalled'"),
    # words that do not suit
    (lambda: L.load(X, key="a"), "key is for files, not for arrays"),
    (lambda: L.load(L.load(X), skip_bad=True), "skip_bad is for files, not for a Stream"),
    (lambda: L.load("e.png", rate=8000), "rate is for arrays"),
    (lambda: L.load(X, rate=8000), "rate is for kind='audio'"),
    (
        lambda: L.load("e.png", kind="tokens").one(),
        "e.png: a PNG, which holds images; it cannot be read as kind tokens$",
    ),
    (lambda: L.load(L.load("e.png"), kind="tokens").one(), "holds image, not tokens"),
    (lambda: L.load("e.png", grey=True, rgb=True), "grey and rgb: give one"),
    (lambda: L.load(X, resize=8).one(), "for whole images"),
    (lambda: L.compare(X, X, where="missing"), "go together"),
    (lambda: L.compare(X, X, fragment=X), "go together"),
    (lambda: L.reconstruct(RGB, lost="alpha"), "lost is for files and Pillow images"),
    (lambda: L.reconstruct("e.png", lost=np.ones((3, 3), bool)).one(), "13 x 9 px, where the mask of lost= has 3 x 3"),
    (lambda: L.reconstruct(X, lost=np.ones((3, 3), bool)).one(), "images"),
    # values
    (lambda: L.load(X, kind="audio", rate="x"), "rate='x': it takes a number above 0"),
    (lambda: L.load(X, kind="audio", rate=0), "rate=0: it takes a number above 0"),
    (lambda: L.load(np.zeros((80, 2)), kind="audio", rate=8000), r"80 channels of 2 samples; give x\.T"),
    (lambda: L.fragment(RGB, bits="x"), r"bits='x': it takes a whole number, or a pair \(low, high\)"),
    (lambda: L.fragment(RGB, bits=2.5), "bits=2.5: it takes a whole number"),
    (lambda: L.fragment(RGB, bits=(6, 1)), r"bits=\(6, 1\)"),
    (lambda: L.fragment(RGB, bits=True), "bits=True"),
    (lambda: L.fragment(RGB, mask="half"), "mask='half': it takes a number"),
    (lambda: L.fragment(RGB, mask=0.5, mask_shape="hlaf").one(), "no mask shape 'hlaf'"),
    (lambda: L.fragment(RGB, noise=float("nan")), "noise=nan"),
    (lambda: L.fragment(RGB, crop=(10, 10)), r"crop=\(10, 10\): it takes text, as WxH"),
    (lambda: L.fragment(RGB, clamp="yes", noise=0.1), "clamp='yes': it takes True or False"),
    (lambda: L.fragment(RGB, [{"op": "mask"}]), "needs its 'mask'"),
    (lambda: L.fragment(RGB, [3]), "losses are text, keywords or dicts"),
    (lambda: L.fragment(RGB, 3), "losses are text, keywords or dicts"),
    (lambda: L.fragment(RGB, bits=3, seed="x"), "seed='x': it takes a whole number from 0"),
    (lambda: L.fragment(RGB, bits=3, seed=-1), "seed=-1"),
    (lambda: L.reconstruct(RGB, seed=-1), "seed=-1"),
    (lambda: L.encode(RGB, size=0), "size=0: it takes a whole number from 1"),
    (lambda: L.encode(RGB, 3), "encoder=3"),
    (lambda: L.train("feedforward", X, "m.safetensors", steps="x"), "steps='x'"),
    (lambda: L.train("feedforward", X, "m.bin", steps=1), r"a model is a \.safetensors file"),
    (lambda: L.compare(X, X, 3), r"metrics=\[3\]"),
    (lambda: L.compare(X, X, peak=-1), "peak=-1"),
    (lambda: L.save(RGB, 3), "path=3"),
    # paths
    (lambda: L.load("nope").one(), "nope: No such file"),
    (lambda: L.compare("e.png", "no.png"), "no.png: No such file"),
    (lambda: L.reconstruct(X, memory="no.npy"), "no.npy: No such file"),
    (lambda: L.reconstruct(X, model="no.safetensors"), "no.safetensors: no such file"),
    (lambda: L.reconstruct("e.png", lost="no.png").one(), "no.png: No such file"),
    (lambda: L.encode(X, "no.safetensors"), "no.safetensors: no such file"),
    (lambda: L.train("feedforward", "no.npy", "m.safetensors", fragment="--mask .5", device="cpu"), "no.npy"),
    (lambda: L.save(RGB, "no/e.jpg"), "no/e.jpg: no folder no"),
    # messages of the commands, in keywords
    (lambda: L.fragment(RGB, bits=20).one(), "^bits must lie in 1-16, not 20$"),
    (lambda: L.encode(L.encode(X, "pca", dims=4).signal(), decode=True).one(), "encoder=.*what fit returned$"),
]


@pytest.mark.parametrize("mistake, message", MISTAKES)
def test_a_mistake_is_one_line_in_keywords(mistake, message):
    with pytest.raises(LemError, match=message) as caught:
        mistake()
    text = str(caught.value)
    assert "\n" not in text and " --" not in text and not text.startswith("--")


def test_options_are_spoken_as_keywords():
    assert spoken("raise --max-bytes to read it") == "raise max_bytes to read it"
    assert spoken("laid on white (--background COLOUR)") == "laid on white (background=COLOUR)"
    assert spoken("match by name with --pair name") == "match by name with by='name'"
    assert spoken("as in --fragment '--mask .75'") == "as in fragment '--mask .75'"
    assert spoken("a--b.png: use a pattern, as in -o out-%05d.png") == "a--b.png: use a pattern, as in out-%05d.png"


def here() -> int:
    return inspect.currentframe().f_back.f_lineno


def test_warnings_point_to_the_line_that_asked():
    alpha = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    np.save("f3.npy", RGB / 255)
    alpha.save("alpha.png")
    for ask in (
        lambda: (L.load(alpha), here()),
        lambda: (L.load("alpha.png").one(), here()),
        lambda: (L.reconstruct("e.png").one(), here()),
        lambda: (L.load("f3.npy").numpy(), here()),
        lambda: (L.save([RGB, RGB[:4]], "two.safetensors"), here()),
    ):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _, line = ask()
        (found,) = seen
        assert (found.filename, found.lineno) == (__file__, line)
        assert "--" not in str(found.message)


def test_help_and_signature_are_those_of_the_function():
    import lemtools.front as front

    assert inspect.signature(L.fragment) == inspect.signature(front.fragment)
    assert {"bits", "mask_shape", "keep_dims", "clamp", "seed"} <= set(inspect.signature(L.fragment).parameters)
    for name in ("fragment", "reconstruct", "encode", "compare", "train"):
        shown = pydoc.plain(pydoc.render_doc(getattr(L, name)))
        assert f"{name}(" in shown and "Parameters" in shown
        assert inspect.getdoc(getattr(front, name)).splitlines()[0] in shown
    assert list(inspect.signature(L.load).parameters)[:4] == ["x", "kind", "rate", "key"]
