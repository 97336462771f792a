"""Tables that are kept as codes: what is stored, what it decodes to, and how near that is."""

import math

import numpy as np
import pytest
import torch

from lemtools import codes
from lemtools.codes import trellis
from lemtools.nets.embedding import Embedding
from lemtools.nets.packed import Scaled, Summed
from lemtools.train import tables
from lemtools.vq.residual import RVQ

ALL = torch.ones(200, dtype=torch.bool)


def table(v=200, w=64, seed=0):
    """[v, w] of normal numbers, rows of many sizes."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.standard_normal((v, w)) * np.exp(rng.standard_normal((v, 1)))).astype(np.float32))


def stored(embedding) -> int:
    """Bits of the codes alone."""
    return 8 * embedding.weight.codes.numel()


@pytest.mark.parametrize(
    "arm, bits", [("quantised", b) for b in (1, 2, 3, 5, 8, 12, 16)] + [("trellis", b) for b in (1, 2, 3)]
)
def test_numbers_of_gaussian_rows_lose_what_the_quantiser_of_a_gaussian_loses(arm, bits):
    """Max 1960 for single numbers; for a trellis its measured distortion, somewhat less than that of the best scalar code."""
    rows, embedding = table(), Embedding(200, 64, arm, 1, "frozen", code_bits=bits)
    facts = tables.scaled(embedding, rows, ALL)
    lost = ((embedding(torch.arange(200)) - rows).square().sum(1) / rows.square().sum(1)).mean()
    quantiser = {"quantizer": "lloyd-max" if arm == "quantised" else "trellis", "bits": bits}
    assert float(lost) == pytest.approx(float(codes.distortion(quantiser)), rel=0.15, abs=1e-6)
    assert stored(embedding) == 200 * 64 * bits
    if arm == "trellis":
        scalar = codes.distortion({"quantizer": "lloyd-max", "bits": bits})
        assert float(lost) < 0.85 * scalar
        assert facts["flops"] == 3 * 200 * (64 + 64) * 2 ** trellis.state_bits(bits, 64)


def test_what_a_file_holds_decodes_to_the_quantiser_s_own_values():
    rows, embedding = table(), Embedding(200, 64, "quantised", 1, "frozen", code_bits=3)
    tables.scaled(embedding, rows, ALL)
    found, scale = tables.quantise(rows.numpy(), "lloyd-max", 3)
    kept = embedding.weight
    assert np.array_equal(kept.unpacked(3, 64), found) and np.array_equal(kept.scale.numpy(), scale)
    assert np.array_equal(scale, scale.astype(np.float16))
    levels = codes.lloyd_max_gaussian(3)
    assert torch.allclose(kept(), torch.from_numpy(levels[found] * scale[:, None]).float(), atol=1e-6)


def test_the_scale_is_that_of_the_least_squared_error():
    """Any other, with the same codes, leaves more."""
    rng = np.random.default_rng(0)
    rows = rng.laplace(size=(50, 32)).astype(np.float32)
    found, scale = tables.quantise(rows, "lloyd-max", 2)
    plain = codes.lloyd_max_gaussian(2)[found]
    errors = [np.square(rows - plain * (factor * scale[:, None])).sum(1) for factor in (0.98, 1, 1.02)]
    assert (errors[1] < errors[0]).all() and (errors[1] < errors[2]).all()


def test_a_row_of_zeros_stays_one():
    rows = table()
    rows[3] = 0
    for arm in ("quantised", "trellis"):
        embedding = Embedding(200, 64, arm, 1, "frozen", code_bits=2)
        tables.scaled(embedding, rows, ALL)
        assert float(embedding(torch.tensor([3])).abs().max()) == 0 and bool(embedding.weight().isfinite().all())


@pytest.mark.parametrize("stages, size", [(1, 16), (3, 8), (2, 11)])
def test_sums_of_codebooks_are_the_recall_of_the_quantiser(stages, size):
    rows, embedding = table(), Embedding(200, 64, "rvq", 1, "frozen", stages=stages, codes=size)
    facts = tables.summed(embedding, rows, ALL)
    rvq = RVQ.fit(rows.numpy(), stages=stages, codes=size)
    recall = torch.from_numpy(rvq.decode(rvq.encode(rows.numpy())))
    assert torch.allclose(embedding(torch.arange(200)), recall, atol=2e-2) and float(recall.std()) > 0.2
    bits = math.ceil(math.log2(size))
    assert stored(embedding) == 8 * math.ceil(200 * stages * bits / 8)
    error = (recall - rows).square().sum() / (rows - rows.mean(0)).square().sum()
    assert facts["lost"] == pytest.approx(float(error), rel=1e-2)


def test_codebooks_are_fitted_to_rows_of_tokens_that_the_text_has():
    rows, seen = table(), torch.arange(200) < 100
    with_others = rows.clone()
    with_others[100:] *= 50
    made = []
    for some in (rows, with_others):
        embedding = Embedding(200, 64, "rvq", 1, "frozen", stages=2, codes=8)
        tables.summed(embedding, some, seen)
        made.append(embedding.weight.books)
    assert torch.equal(*made)


def test_a_table_is_made_anew_where_its_parts_change():
    one = Scaled(7, 4, "lloyd-max", 3)
    rng = np.random.default_rng(0)
    for fill in (1, 2):
        found, scale = rng.integers(8, size=(7, 4), dtype=np.uint8), np.full(7, fill, np.float32)
        one.fill(found, scale)
        assert torch.allclose(one(), torch.from_numpy(fill * codes.lloyd_max_gaussian(3)[found]).float())
    first = one()
    assert one() is first and one().dtype == torch.float32
    state = {k: v.clone() for k, v in one.state_dict().items()}
    other = Scaled(7, 4, "lloyd-max", 3)
    other()
    other.load_state_dict(state)
    assert torch.equal(other(), first) and set(state) == {"codes", "scale"}
    wide = other.double()()
    assert wide.dtype == torch.float64 and torch.allclose(wide.float(), first)


def test_codes_beyond_a_codebook_are_taken_as_its_last():
    """As a damaged file may have them."""
    one = Summed(5, 4, 2, 3)
    one.books.copy_(torch.randn(2, 3, 4))
    one.codes.fill_(255)
    assert torch.allclose(one(), one.books[:, 2].sum(0).expand(5, 4))
