"""What tokens cost by logits, against the definition."""

import pytest
import torch

from lemtools.nets.nats import nats


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_it_is_minus_the_logarithm_of_the_softmax(shape):
    logits = torch.randn(*shape, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(7, shape, generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    chance = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = torch.zeros(shape, dtype=torch.float64)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in shape)).reshape(-1, len(shape)).tolist():
        expected[tuple(place)] = -chance[(*place, int(tokens[tuple(place)]))].log()
    torch.testing.assert_close(nats(logits, tokens), expected)


def test_gradients_flow_to_the_logits_of_every_token_under_vmap():
    logits = torch.randn(3, 2, 5, requires_grad=True)
    tokens = torch.tensor([[1, 4], [0, 2], [3, 3]])
    found = torch.vmap(nats)(logits, tokens)
    found.sum().backward()
    torch.testing.assert_close(found, nats(logits, tokens))
    torch.testing.assert_close(logits.grad, logits.softmax(-1) - torch.nn.functional.one_hot(tokens, 5))
