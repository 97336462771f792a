"""What a Signal holds, its wire form and what that costs."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.signals import OPS, WHOLE, same
from lemtools.fragment import apply, fragment
from lemtools.signal import LemError, Signal, bits_per_element, from_tensors, narrow, to_tensors
from lemtools.stream import Source, document, read, write


def through(signal: Signal) -> list[Signal]:
    out = io.BytesIO()
    write([signal], out)
    return list(read(Source(io.BytesIO(out.getvalue()), "x")))


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "+".join(op["op"] for op in ops))
@pytest.mark.parametrize("kind", WHOLE)
def test_round_trip(kind, ops):
    if kind.startswith("tokens"):
        ops = [op for op in ops if op["op"] in ("mask", "crop")]
    whole = WHOLE[kind](3)
    whole.names, whole.label = ["a/ä.png", "", "b\udcff"], np.array([3, -1, 2**40])
    whole.index, whole.history = np.array([4, 9, 2]), [{"tool": "x", "seed": 7, "args": ["--ä"]}]
    (broken,) = fragment([whole], ops, seed=3)
    (back,) = through(broken)
    same(broken, back)
    assert back.whole_shape == whole.data.shape[1:] and back.whole_dtype == whole.data.dtype
    broken.cost = bits_per_element(broken)
    assert np.array_equal(bits_per_element(back), broken.cost)
    same(broken, through(broken)[0])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_batch_of_no_items(kind):
    for ops in OPS:
        if kind.startswith("tokens"):
            ops = [op for op in ops if op["op"] in ("mask", "crop")]
        (broken,) = fragment([WHOLE[kind](0)], ops)
        assert len(broken) == 0 and len(bits_per_element(broken)) == 0
        assert through(broken) == []
        tensors, meta = to_tensors(broken)
        same(broken, from_tensors({k: v for k, (_, v) in tensors.items()}, meta))


def test_values_are_right_whatever_the_memory_layout():
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 4, 5, 3) / 200
    for array in (x.transpose(0, 3, 2, 1), x[:, ::-1], np.asfortranarray(x), x.astype(">f4"), x[::2], x[:, :, ::2, 1:]):
        (back,) = through(Signal("image", array))
        assert np.array_equal(back.data, array) and back.data.dtype == np.float32


def test_lost_values_are_not_on_the_wire():
    for kind in ("image8", "embedding64", "audio", "tokens"):
        whole = WHOLE[kind](4)
        broken = apply(whole, {"op": "mask", "mask": 0.75})
        tensors, _ = to_tensors(broken)
        assert set(tensors) == {"values", "mask"}
        assert tensors["values"][1].size == broken.observed().sum() == whole.data.size // 4
        assert not broken.data[~broken.observed()].any()


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "+".join(op["op"] for op in ops))
@pytest.mark.parametrize("kind", ["image8", "embedding", "audio"])
def test_the_cost_is_what_the_document_holds(kind, ops):
    broken = list(fragment([WHOLE[kind](5)], ops))[0]
    raw = b"".join(document(broken))
    body = len(raw) - 8 - int.from_bytes(raw[:8], "little")
    assert bits_per_element(broken).sum() * math.prod(broken.whole_shape) == pytest.approx(8 * body, rel=1e-12)


def cost(kind, *ops, n=2):
    return bits_per_element(list(fragment([WHOLE[kind](n)], list(ops)))[0])


def test_cost_in_closed_form():
    bits3, half = {"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5}
    assert (cost("image8") == 8).all() and (cost("image") == 32).all() and (cost("embedding64") == 64).all()
    assert (cost("image8", bits3) == 3).all()
    assert (cost("image8", bits3, half) == 1.5 + 1 / 3).all()  # one bit of the mask for three channels
    assert (cost("embedding", bits3) == 3 + 16 / 128).all()  # the norm as float16
    assert (cost("embedding", {"op": "keep-dims", "keep": 32}) == 8).all()  # of the whole, 32 / 4
    assert (cost("image8", {"op": "crop", "crop": "4x4+0+0"}) == (8 * 48 + 2 * 32) / 384).all()
    fitted = cost("image8", {"op": "bits", "bits": 3, "quantizer": "lloyd-max"})
    assert (fitted == 3 + 8 * 16 / 384).all()  # eight levels as float16
    drawn = list(fragment([WHOLE["image8"](9)], [{"op": "bits", "bits": (1, 6)}], seed=1))[0]
    assert np.allclose(bits_per_element(drawn), drawn.ops[0]["bits"] + 8 / 384)


def test_take_brings_all_that_belongs_to_an_item():
    whole = WHOLE["embedding"](6)
    whole.names, whole.label = list("abcdef"), np.arange(6) * 10
    (broken,) = fragment([whole], [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": (0.1, 0.9)}], seed=2)
    for items in ([4, 1], slice(1, None, 2), [3]):
        part = broken.take(items)
        order = np.arange(6)[items]
        assert part.names == [whole.names[i] for i in order] and np.array_equal(part.label, order * 10)
        assert np.array_equal(part.index, order)
        for key in ("bits", "scale"):
            assert np.array_equal(part.ops[0][key], broken.ops[0][key][order])
        same(part, through(part)[0])
        assert np.array_equal(part.data, broken.data[order])


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "+".join(op["op"] for op in ops))
@pytest.mark.parametrize("kind", WHOLE)
def test_what_an_item_costs_does_not_depend_on_its_neighbours(kind, ops):
    if kind.startswith("tokens"):
        ops = [op for op in ops if op["op"] in ("mask", "crop")]
    (broken,) = fragment([WHOLE[kind](4)], ops, seed=3)
    alone = [bits_per_element(broken.take([i]))[0] for i in range(4)]
    assert np.array_equal(bits_per_element(broken), alone)


def test_the_cost_beside_items_that_need_wider_numbers():
    tokens = Signal("tokens", np.array([[1, 2], [9, 1]], np.int16), depth=3)
    assert bits_per_element(tokens).tolist() == [3, 16]
    short = Signal("embedding", np.array([[1.0, 2], [1 / 3, 1]], np.float32), depth=16)
    assert bits_per_element(short).tolist() == [16, 32]
    scaled = Signal("embedding", np.array([[1.0] * 16, [1e-9] * 16], np.float32))
    (broken,) = fragment([scaled], [{"op": "bits", "bits": 3}])
    assert bits_per_element(broken).tolist() == [3 + 16 / 16, 3 + 32 / 16]  # float16 holds the first rms only


def test_narrow_is_exact_or_float32():
    half = np.array([1.5, -0.25, 65504, np.inf], np.float32)
    assert narrow(half).dtype == np.float16 and np.array_equal(narrow(half), half)
    for value in (1 / 3, 70000.0, 1e-9):
        out = narrow(np.array([1.0, value], np.float32))
        assert out.dtype == np.float32 and out[1] == np.float32(value)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Signal("smell", np.zeros((1, 2))), "unknown kind"),
        (lambda: Signal("image", np.zeros((1, 2))), "image data is an array with 4 axes, not 2"),
        (lambda: Signal("image", np.zeros((1, 3, 0, 4))), "hold nothing"),
        (lambda: Signal("embedding", np.zeros((2, 4)), mask=np.ones((2, 3), bool)), "does not fit"),
        (lambda: Signal("embedding", np.zeros((2, 4)), mask=np.ones((1, 4), bool)), "does not fit"),
        (lambda: to_tensors(Signal("embedding", np.zeros((2, 4), complex))), "cannot travel"),
    ],
)
def test_refused(make, message):
    with pytest.raises(LemError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "+".join(op["op"] for op in ops))
@pytest.mark.parametrize("kind", WHOLE)
def test_concat_undoes_take(kind, ops):
    if kind.startswith("tokens"):
        ops = [op for op in ops if op["op"] in ("mask", "crop")]
    whole = WHOLE[kind](5)
    whole.names, whole.label, whole.last = list("abcde"), np.arange(5) * 10, True
    whole.tokens = np.arange(30).reshape(5, 6) if kind == "sequence" and not ops else None
    (broken,) = fragment([whole], ops, seed=2)
    parts = [broken.take([0, 1]), broken.take([2]), replace(broken.take([3, 4]), last=True)]
    back = Signal.concat(parts)
    same(back, broken)
    assert back.last is True and back.depth is None
    assert (back.tokens is None) == (whole.tokens is None) and np.array_equal(back.tokens, whole.tokens)
    assert np.array_equal(bits_per_element(back), np.concatenate([bits_per_element(part) for part in parts]))
    assert Signal.concat(parts[:1]) is parts[0]


def test_concat_refuses_what_differs():
    def image(n=2, **more):
        return replace(WHOLE["image8"](n), **more)

    masked = apply(image(), {"op": "mask", "mask": 0.5})
    for one, two, name in (
        (image(), WHOLE["image"](2), "data"),
        (image(), replace(image(), data=image().data[..., :4]), "data"),
        (image(), WHOLE["tokens"](2), "kind"),
        (image(), image(names=["a", "b"]), "names"),
        (image(), image(label=np.arange(2)), "label"),
        (image(), image(history=[{"tool": "x"}]), "history"),
        (image(), masked, "mask|ops"),
        (masked, apply(image(), {"op": "mask", "mask": 0.25}), "ops.0.mask"),
        (WHOLE["audio"](1), replace(WHOLE["audio"](1), rate=44100.0), "rate"),
        (Signal("tokens", np.ones((1, 3), int), depth=4), Signal("tokens", np.ones((1, 3), int), depth=12), "depth"),
        (WHOLE["sequence"](1), replace(WHOLE["sequence"](1), tokens=np.ones((1, 6), int)), "tokens"),
    ):
        for pair in ((one, two), (two, one)):
            with pytest.raises(LemError, match=f"differ in ({name}) cannot be one"):
                Signal.concat(pair)
    with pytest.raises(LemError, match="no batches"):
        Signal.concat([])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Signal("image", np.full((1, 3, 4, 4), 200.0, np.float32)), r"not in \[200, 200\]; divide by 255"),
        (
            lambda: Signal("image", np.full((1, 3, 4, 4), -0.1, np.float32)),
            r"must lie in \[0, 1\], not in \[-0.1, -0.1\]",
        ),
        (lambda: Signal("image", np.full((1, 1, 4, 4), 1.01)), r"not in \[1.01, 1.01\]; divide by their full scale"),
        (lambda: Signal("image", np.zeros((8, 64, 64, 3), np.uint8)), r"not 64 in .*data.transpose\(0, 3, 1, 2\)"),
        (lambda: replace(WHOLE["image"](1), data=np.zeros((1, 5, 4, 4), np.uint8)), "1 to 4 channels"),
    ],
)
def test_images_that_would_be_misread_are_refused(make, message):
    with pytest.raises(LemError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_images_at_the_ends_of_the_range_are_taken():
    for values in ([0, 1], [-1e-6, 1 + 1e-6]):
        assert len(Signal("image", np.array(values, np.float32).reshape(1, 1, 1, 2))) == 1
    assert len(Signal("image", np.zeros((0, 3, 4, 4), np.float32))) == 0
    for channels in (1, 2, 3, 4):
        assert len(Signal("image", np.zeros((2, channels, 4, 4), np.uint8))) == 2


def test_what_a_noisy_image_becomes_is_not_refused():
    whole = WHOLE["image"](2)
    (noisy,) = fragment([whole], [{"op": "noise", "sigma": 0.5}])
    assert noisy.data.min() < 0 and noisy.data.max() > 1
    (back,) = through(noisy)
    same(back, noisy)
    assert np.array_equal(noisy.take([1]).data, noisy.data[1:])


def test_a_mask_of_numbers_is_refused():
    """Packed, 0 and 1 would be places: what was written could not be read."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    with pytest.raises(LemError, match="a mask of uint8; it is bool, True where observed: give mask.astype"):
        Signal("embedding", x, mask=(x > 3).astype(np.uint8))
    assert Signal("embedding", x, mask=x > 3).mask.dtype == bool
