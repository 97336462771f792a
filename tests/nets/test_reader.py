"""Rows of tokens read with a cache: what they say is what a network without one says, however they are read."""

import pytest
import torch

from lemtools.nets import build
from lemtools.nets.reader import Reader, begins
from lemtools.nets.step import Step

CONTEXT, KINDS = 8, 7
PIECES = (1, 1, 1, 2, 5, 1, 1, 9, 1, 1, 1, 1, 3, 1, 1)  # tokens that are read at a time


ARCHS = {"lm": {"heads": 2}, "gru-lm": {}, "delta-lm": {"heads": 2}}


def network(dtype=torch.float64, context=CONTEXT, device="cpu", arch="lm", **more):
    torch.manual_seed(0)
    sizes = {"vocabulary": KINDS, "depth": 2, "width": 16, "context": context}
    net = build({"net": arch, **sizes, **ARCHS[arch], **more})
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net.eval().to(device, dtype)


def plain(net, tokens, place):
    """Logits [R, V] of the token at a place, by one call without a cache."""
    if place == 0:
        return torch.zeros(len(tokens), KINDS, dtype=net.head.weight.dtype, device=tokens.device)
    return net(tokens[:, begins(place, net.context) : place])[:, -1]


@pytest.mark.parametrize("context", [1, 2, 7, CONTEXT, 13])
def test_where_a_token_is_predicted_from(context):
    for place in range(60):
        begun = begins(place, context)
        assert place <= context or begun % max(context // 2, 1) == 0
        assert begun == 0 if place <= context else max(context // 2, 1) <= place - begun <= context
        assert begun >= begins(max(place - 1, 0), context)


@pytest.mark.parametrize("arch, graph", [("lm", False), ("lm", True), ("gru-lm", True), ("delta-lm", True)])
@pytest.mark.parametrize("dtype, most", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@torch.inference_mode()
def test_a_cache_says_what_no_cache_says(dtype, most, arch, graph):
    """Far beyond the context, in pieces of any size, by steps of fixed shape, too; a state in place of a cache does."""
    net, tokens, place = network(dtype, arch=arch), torch.randint(0, KINDS, (3, sum(PIECES))), 0
    reader = Reader(net, tokens[:, :0], graph)
    for count in PIECES:
        torch.testing.assert_close(reader.logits().to(dtype), plain(net, tokens, place), atol=most, rtol=most)
        found = reader.score(tokens[:, place : place + count])
        for i in range(count):
            want = plain(net, tokens, place + i).double().log_softmax(-1)
            want = want.gather(-1, tokens[:, place + i, None])[:, 0]
            torch.testing.assert_close(found[:, i], want, atol=most, rtol=most)
        place += count
    assert reader.length == sum(PIECES) > 3 * CONTEXT


@pytest.mark.parametrize("arch, graph", [("lm", False), ("lm", True), ("gru-lm", False), ("delta-lm", False)])
@torch.inference_mode()
def test_rows_are_taken_as_often_as_wanted(arch, graph):
    net, tokens = network(arch=arch), torch.randint(0, KINDS, (2, 5))
    reader, order = Reader(net, tokens, graph), torch.tensor([1, 0, 1, 1])
    for _ in range(3):  # (so that steps of fixed shape have begun)
        reader.logits()
        reader.add(torch.zeros(2, 1, dtype=torch.int64))
    reader.logits()
    reader.take(order)
    torch.testing.assert_close(reader.logits(), plain(net, reader.tokens, 8), atol=1e-12, rtol=1e-12)
    reader.add(torch.tensor([[0], [1], [2], [3]]))
    assert torch.equal(reader.tokens[:, :5], tokens[order])
    torch.testing.assert_close(reader.logits(), plain(net, reader.tokens, 9), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("by", ["bptt:4", "passes:2"])
@torch.inference_mode()
def test_thoughts_go_with_their_rows(by):
    net, tokens = network(thoughts=0.25, thoughts_by=by), torch.randint(0, KINDS, (2, 4))
    reader, more = Reader(net, tokens, graph=True), torch.tensor([[0, 5, 2], [1, 2, 3], [4, 4, 1]])
    reader.logits()
    reader.take(torch.tensor([1, 0, 1]))
    found = reader.score(more)
    said = net(torch.cat([tokens[[1, 0, 1]], more], 1))[:, 3:6].log_softmax(-1)
    torch.testing.assert_close(found, said.gather(-1, more[..., None])[..., 0], atol=1e-12, rtol=1e-12)


def steps(device, most):
    net, tokens = network(torch.float32, device=device), torch.randint(0, KINDS, (2, CONTEXT), device=device)
    caches = net.caches()
    net.said(tokens[:, :3], caches)
    step = Step(net, caches)
    for _ in range(2):  # the second time it begins anew
        step.begin(caches)
        for place in range(3, CONTEXT):
            torch.testing.assert_close(
                step(tokens[:, place : place + 1])[:, 0], net(tokens[:, : place + 1])[:, -1], atol=most, rtol=most
            )
        with pytest.raises(ValueError, match=f"{CONTEXT + 1} positions"):
            step(tokens[:, :1])


@torch.inference_mode()
def test_a_step_of_fixed_shape_says_the_same():
    steps("cpu", 1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@torch.inference_mode()
def test_a_graph_says_the_same():
    steps("cuda", 1e-4)


@torch.inference_mode()
def test_what_has_no_room_is_refused():
    net, tokens = network(), torch.randint(0, KINDS, (1, CONTEXT + 1))
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} positions; this network was made for {CONTEXT}"):
        net.said(tokens, net.caches())
    caches = net.caches()
    net.said(tokens[:, :CONTEXT], caches)
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} positions"):
        net.said(tokens[:, :1], caches)
