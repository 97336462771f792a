"""Networks that tell classes: what they are made of, and that no item sees another."""

import numpy as np
import pytest
import torch

from lemtools.nets import build
from lemtools.nets.classifier import Unit

NETS = {
    "conv": ({"net": "conv-classifier", "channels": 3, "classes": 5, "widths": [8, 12, 16], "blocks": 1}, (3, 13, 9)),
    "rows": (
        {"net": "conv-classifier", "channels": 1, "classes": 5, "widths": [8, 12, 16], "blocks": 1, "rows": 13},
        (1, 13, 9),
    ),
    "mlp": ({"net": "mlp-classifier", "item": [6, 2], "classes": 5, "width": 16, "depth": 2}, (6, 2)),
    "linear": ({"net": "mlp-classifier", "item": [7], "classes": 5, "width": 16, "depth": 0}, (7,)),
}


def loud(net):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.double().eval()


@pytest.mark.parametrize("name", NETS)
def test_an_item_does_not_see_others(name):
    config, item = NETS[name]
    net, x = loud(build(config)), torch.randn(6, *item, dtype=torch.float64)
    together, alone = net(x), torch.cat([net(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)
    layers = net.layers(x)
    assert len(layers) == net.count and all(h.shape[0] == 6 and h.ndim == 2 for h in layers)
    torch.testing.assert_close(net.head(layers[-1]), together)


@pytest.mark.parametrize("name", NETS)
def test_all_classes_are_as_likely_at_first(name):
    config, item = NETS[name]
    assert torch.equal(build(config)(torch.randn(2, *item)), torch.zeros(2, 5))


def test_a_linear_one_is_a_matrix():
    net, x = loud(build(NETS["linear"][0])), torch.randn(4, 7, dtype=torch.float64)
    want = x.numpy() @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    np.testing.assert_allclose(net(x).detach(), want, rtol=1e-12)
    assert net.count == 1 and torch.equal(net.layers(x)[0], x)


def test_a_unit_by_its_definition():
    unit, x = loud(Unit(8, 32, 2)), torch.randn(2, 8, 7, 6, dtype=torch.float64)

    def normed(h, norm):
        g = h.reshape(len(h), max(1, h.shape[1] // 16), -1)
        g = (g - g.mean(2, keepdim=True)) / (g.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return g.reshape(h.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]

    first = normed(x, unit.norms[0]).relu()
    inner = torch.nn.functional.conv2d(first, unit.first.weight, unit.first.bias, 2, 1)
    inner = torch.nn.functional.conv2d(normed(inner, unit.norms[1]).relu(), unit.second.weight, unit.second.bias, 1, 1)
    short = torch.nn.functional.conv2d(first, unit.short.weight, unit.short.bias, 2)
    torch.testing.assert_close(unit(x), short + inner)
    assert unit(x).shape == (2, 32, 4, 3)
