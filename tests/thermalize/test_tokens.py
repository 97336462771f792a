"""Tokens through a thermalizer: codes against their definition, what stays as it is, logits, windows, dead rows, bad input."""

import numpy as np
import pytest
import torch

from lemtools.catalogue import LemError
from lemtools.nets.draw import likely
from lemtools.signal import Signal
from lemtools.thermalize import prepared, rollout
from lemtools.thermalize.codebook import NEVER, WIDTH, Codebook, load, log_softmax
from lemtools.thermalize.driver import driven, filtered
from lemtools.thermalize.tokens import InContext, Tokens, TokenThermalizer, Windows

K, D, PLACES, ROWS = 12, 5, 8, 6
TABLE = np.random.default_rng(0).standard_normal((K, D)).astype(np.float32)


def frames(rows=ROWS, steps=16, seed=0):
    """A pair of tokens that goes round on a ring, one of three: uint8 [T, R, P]."""
    rng = np.random.default_rng(seed)
    place, kind = rng.integers(0, PLACES, rows), rng.integers(0, 3, rows)
    out = np.zeros((steps, rows, PLACES), np.uint8)
    for t in range(steps):
        out[t, range(rows), (place + t) % PLACES] = 1 + 2 * kind
        out[t, range(rows), (place + t + 1) % PLACES] = 2 + 2 * kind
    return out


def made(window=2, corrector="next", grid=None, table=TABLE, inner=None, **options):
    windows = Windows(Codebook(table), window, grid)
    memory = windows.of(frames(24, 24).reshape(-1, PLACES), 24)
    chosen = {"neighbours": 16, "ridge": 1e-3} if corrector == "next" else {}
    thermalizer = prepared(memory, 24, corrector=corrector, **{"false_fire": 0.1, **chosen, **(inner or {})})
    return TokenThermalizer(windows, thermalizer, **options)


def stepped(stepper, sequence):
    """What goes out for the frames [T, R, ...], step by step."""
    previous, steps = None, []
    for frame in sequence:
        steps.append(stepper.step(frame, previous))
        previous = steps[-1].state
    return steps


def spoilt(sequence, share=0.1, seed=1):
    rng = np.random.default_rng(seed)
    wrong = rng.random(sequence.shape) < share
    return np.where(wrong, rng.integers(0, K, sequence.shape), sequence).astype(sequence.dtype)


def logits(tokens, sharp=4.0, noise=1.0, seed=2):
    rng = np.random.default_rng(seed)
    return (sharp * np.eye(K)[tokens] + noise * rng.standard_normal((*tokens.shape, K))).astype(np.float32)


# --- the codebook


@pytest.mark.parametrize("size, dim", [(2, 1), (12, 5), (300, 16)])
def test_nearest_codes_are_those_of_the_definition(size, dim):
    rng = np.random.default_rng(size)
    table = 1000 + rng.standard_normal((size, dim))
    table[-1] = table[0] if size > 2 else table[-1]  # a duplicate: the first one is meant
    book = Codebook(table)
    x = torch.from_numpy(1000 + rng.standard_normal((200, dim)))
    exact = (x[:, None] - book.table).square().sum(2).sqrt()
    number, distance = book.nearest(x)
    assert torch.equal(number[:, 0], exact.argmin(1))
    assert torch.equal(distance, exact.sort(1).values[:, :2])
    assert torch.equal(book.distance(x, number[:, 1]), distance[:, 1])
    apart = np.linalg.norm(table[:, None] - table, axis=2) + np.where(np.eye(size), np.inf, 0)
    assert book.unit == pytest.approx(np.median(apart.min(1)))
    assert book.twins == (2 if size > 2 else 0)


def test_codes_are_found_in_parts_as_at_once(monkeypatch):
    book, x = Codebook(TABLE), torch.randn(50, D, dtype=torch.float64)
    whole = book.nearest(x)
    monkeypatch.setattr("lemtools.thermalize.codebook.CELLS", 7 * K)
    assert all(torch.equal(a, b) for a, b in zip(book.nearest(x), whole))


def test_probabilities_of_logits():
    x = np.random.default_rng(0).standard_normal((3, 4, K)) * 30
    x[0, 0, :5] = -np.inf
    expected = torch.from_numpy(x / 0.7).log_softmax(2).numpy()
    found = log_softmax(x, 0.7)
    assert np.allclose(np.exp(found), np.exp(expected)) and (found[0, 0, :5] == NEVER).all()
    assert (log_softmax(x, 0.0).argmax(2) == x.argmax(2)).all() and np.exp(log_softmax(x, 0.0)).max() == 1
    book, p = Codebook(TABLE), torch.from_numpy(found[1])
    assert np.allclose(book.expected(p), np.exp(found[1]) @ TABLE.astype(np.float64))
    goal = torch.randn(4, D, dtype=torch.float64)
    weighed = book.weighed(p, goal).softmax(1)
    near = np.exp(-np.square(TABLE[None] - goal.numpy()[:, None]).sum(2) / 2 / (WIDTH * book.unit) ** 2)
    assert np.allclose(
        weighed, p.exp() * torch.from_numpy(near) / (p.exp() * torch.from_numpy(near)).sum(1, keepdim=True), atol=1e-12
    )


def test_a_codebook_of_anybody_and_one_of_ours(tmp_path):
    from safetensors.numpy import save_file

    from lemtools.vq.residual import RVQ

    np.save(tmp_path / "table.npy", TABLE)
    save_file({"quantize.embedding.weight": TABLE, "other": TABLE[:3]}, tmp_path / "model.safetensors")
    for found in (
        load(str(tmp_path / "table.npy")),
        load(str(tmp_path / "model.safetensors"), "quantize.embedding.weight"),
    ):
        assert (found.table.numpy() == TABLE).all()
    vectors = np.random.default_rng(1).standard_normal((400, D)).astype(np.float32)
    rvq = RVQ.fit(vectors, stages=1, codes=8, updates=3)
    rvq.save(tmp_path / "rvq.safetensors")
    book = load(str(tmp_path / "rvq.safetensors"))
    assert len(book) == 8
    codes = rvq.encode(vectors)
    assert (book.vectors(codes[:, 0]).numpy() == rvq.decode(codes)).all()
    RVQ.fit(vectors, stages=2, codes=8, updates=3).save(tmp_path / "two.safetensors")
    for name, key, said in (
        ("two.safetensors", None, "two.safetensors: a model of 2 codes a vector.*--stages 1"),
        ("model.safetensors", None, "model.safetensors: several float tensors .*pick one with --codebook-key"),
        ("model.safetensors", "weight", "no float tensor 'weight'"),
        ("none.npy", None, "none.npy: no such file"),
    ):
        with pytest.raises(LemError, match=said):
            load(str(tmp_path / name), key)
    twins = np.repeat(TABLE[:4], 3, 0)
    for table, said in (
        (TABLE[0], "no codebook"),
        (TABLE[:1], "2 codes or more"),
        (np.where(TABLE > 1, np.nan, TABLE), "NaN"),
        (twins, "12 of the 12 codes are the same as another one"),
    ):
        with pytest.raises(LemError, match=said):
            Codebook(table)


# --- windows


def test_windows_are_frames_one_upon_the_other():
    windows, sequence = Windows(Codebook(TABLE), 3), frames()
    states = windows.of(sequence.reshape(-1, PLACES), ROWS)
    assert states.shape == (14 * ROWS, 3 * D, PLACES) and states.dtype == np.float32
    for t, r in ((0, 0), (5, 3), (13, 5)):
        for k in range(3):
            assert (states[t * ROWS + r, k * D : (k + 1) * D].T == TABLE[sequence[t + k, r]]).all()
    newest = windows.newest(states[:ROWS])
    assert (newest.numpy() == TABLE[sequence[2]]).all()
    flat = Windows(Codebook(TABLE), 3, (2, 4)).of(sequence.reshape(-1, PLACES), ROWS)
    assert (flat == states.reshape(-1, 3 * D, 2, 4)).all()
    with pytest.raises(LemError, match="--grid 3x2: a frame has 8 places"):  # (width first, as it was said)
        Windows(Codebook(TABLE), 1, (2, 3)).of(np.zeros((4, 8), int), 1)
    with pytest.raises(LemError, match="--grid 3x3: a frame has 8 places"):
        Windows(Codebook(TABLE), 1, (3, 3)).of(sequence[0], ROWS)
    with pytest.raises(LemError, match="no window of 50 frames"):
        Windows(Codebook(TABLE), 50).of(sequence.reshape(-1, PLACES), ROWS)


# --- what goes out


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("window", [1, 2])
def test_where_there_is_nothing_to_do_tokens_come_back_bit_by_bit(dtype, window):
    sequence = frames(seed=9).astype(dtype)
    stepper = made(window, inner={"threshold": 1e9})
    for frame, step in zip(sequence, stepped(stepper, sequence), strict=True):
        assert step.state.dtype == dtype and step.state.tobytes() == frame.tobytes()
        assert not step.more["flips"].any() and (step.more["margin"] > 0).all()
    alone = TokenThermalizer(Windows(Codebook(TABLE), window))
    assert all((s.state == f).all() for f, s in zip(sequence, stepped(alone, sequence)))


def test_codes_that_are_the_same_keep_their_names():
    table = np.concatenate([TABLE, TABLE[:1]])
    sequence = np.where(frames(seed=9) == 0, K, frames(seed=9)).astype(np.uint8)  # the second of the two
    for step, frame in zip(stepped(made(table=table), sequence), sequence):
        assert (step.state == frame).all()


@pytest.mark.parametrize("grid", [None, (2, 4)])
def test_what_is_spoilt_is_put_back_in_windows(grid):
    clean = frames(seed=9)
    found = np.stack([step.state for step in stepped(made(grid=grid), spoilt(clean))])
    assert (spoilt(clean) == clean)[2:].mean() < 0.93
    assert (found == clean)[2:].mean() > 0.985
    assert found.dtype == np.uint8


def test_what_is_told_of_a_step():
    clean, stepper = frames(seed=9), made()
    bad = spoilt(clean)
    for k, step in enumerate(stepped(stepper, bad)):
        told = step.told()
        assert [*told][-2:] == ["margin", "flips"] and "state" not in told
        assert np.allclose(step.more["flips"], (step.state != bad[k]).mean(1))
        assert (step.state != bad[k]).any(1)[step.displacement == 0].sum() == 0
    apart = np.sort(np.linalg.norm(TABLE[:, None] - TABLE, axis=2), 1)[:, 1]
    first = stepped(TokenThermalizer(Windows(Codebook(TABLE))), clean[:1])[0]
    assert np.allclose(first.more["margin"], np.median(apart[clean[0]], 1) / Codebook(TABLE).unit)


def test_a_margin_keeps_tokens():
    """At 0 the nearest codes go out, at infinity nothing changes, between them by the definition."""
    bad = spoilt(frames(seed=9))
    at = lambda margin: made(corrector="memory", keep_margin=margin)
    for a, b in zip(stepped(at(None), bad), stepped(at(0.0), bad)):
        assert (a.state == b.state).all()
    assert all((s.state == f).all() for s, f in zip(stepped(at(np.inf), bad), bad))
    plain, seen = at(None), []
    book, corrected = plain.windows.book, plain.thermalizer.step
    plain.thermalizer.step = lambda *given: seen.append(corrected(*given)) or seen[-1]
    plain.begin(bad[:1])
    nearest = plain.step(bad[1], bad[0]).state
    x = plain.windows.newest(seen[0].state).numpy()
    own, new = (np.linalg.norm(x - TABLE[tokens], axis=2) for tokens in (bad[1], nearest))
    gain = np.sort((own - new)[bad[1] != nearest]) / book.unit
    between = at(gain[len(gain) // 2] - 1e-9)
    between.begin(bad[:1])
    found = between.step(bad[1], bad[0]).state
    assert (found == np.where((own - new) / book.unit > between.margin, nearest, bad[1])).all()
    assert (found != nearest).any() and (found != bad[1]).any()


# --- logits


@pytest.mark.parametrize("way", ["sample", "expected", "weigh"])
def test_logits_of_one_token_alone_are_that_token(way):
    bad = spoilt(frames(seed=9))
    sure = np.where(np.eye(K)[bad] > 0, 0, -np.inf).astype(np.float32)
    tokens, stepper = stepped(made(), bad), made(logits=way)
    found = stepped(stepper, sure)
    for a, b, frame in zip(tokens, found, bad):
        if way == "weigh":  # what the model rules out is never drawn
            assert (b.state == frame).all()
        else:
            assert (a.state == b.state).all() and np.array_equal(a.level, b.level, equal_nan=True)
    assert found[0].state.dtype == np.uint8


def test_without_a_correction_tokens_are_drawn_from_the_logits():
    """By one set of draws, whether they are weighed or not; the rate of each token is its probability."""
    x = np.broadcast_to(logits(frames(2000, 1, 3)[0][:, :1])[:1], (2000, 1, K)).copy()
    still = {"threshold": 1e9, "clean": False}
    alone, drawn = (TokenThermalizer(None, seed=5).step(x).state for _ in range(2))
    assert (alone == drawn).all() and (TokenThermalizer(None, seed=6).step(x).state != alone).any()
    rate = np.bincount(alone[:, 0], minlength=K) / 2000
    p = np.exp(log_softmax(x[0, 0]))
    assert np.abs(rate - p).max() < 4 * np.sqrt(p.max() / 2000)
    sequence = logits(frames(seed=9))
    same = [[s.state for s in stepped(made(logits=way, inner=still), sequence)] for way in ("sample", "weigh")]
    bare = [s.state for s in stepped(TokenThermalizer(None), sequence)]
    cleaned = stepped(made(logits="weigh", inner={"threshold": 1e9}), sequence)  # noise taken away is no correction
    assert all((s.state == x).all() for s, x in zip(cleaned, bare)) and cleaned[3].displacement.all()
    assert all((a == b).all() and (a == c).all() for a, b, c in zip(*same, bare))
    cold = stepped(TokenThermalizer(None, temperature=0), sequence)
    assert all((s.state == x.argmax(2)).all() for s, x in zip(cold, sequence))
    nearest = stepped(TokenThermalizer(Windows(Codebook(TABLE)), logits="expected"), sequence)
    mean = np.exp(log_softmax(sequence[3])) @ TABLE.astype(np.float64)
    wanted = np.linalg.norm(mean[:, :, None] - TABLE, axis=3).argmin(2)
    assert (nearest[3].state == wanted).all()


@pytest.mark.parametrize("among", [{"top": 2}, {"top_p": 0.6}, {"typical": 0.5}])
def test_tokens_are_drawn_among_those_that_are_asked_for(among):
    x = np.broadcast_to(logits(frames(2000, 1, 3)[0][:, :1], sharp=1.5)[:1], (2000, 1, K)).copy()
    p = likely(torch.from_numpy(x[0, 0]), 0.8, **among).numpy()
    assert 0 < (p > 0).sum() < K
    drawn = TokenThermalizer(None, temperature=0.8, **among).step(x).state
    rate = np.bincount(drawn[:, 0], minlength=K) / 2000
    assert not rate[p == 0].any() and np.abs(rate - p).max() < 4 * np.sqrt(0.25 / 2000)
    expected = TokenThermalizer(Windows(Codebook(TABLE)), logits="expected", temperature=0.8, **among).step(x[:1]).state
    assert expected[0, 0] == np.linalg.norm(p @ TABLE.astype(np.float64) - TABLE, axis=1).argmin()


@pytest.mark.parametrize("way", ["sample", "expected", "weigh"])
def test_a_correction_helps_in_a_loop_of_logits(way):
    true = frames(rows=16, steps=30, seed=9)
    emulator = lambda frame: logits(np.roll(frame, 1, 1), sharp=5)
    start = true[1].astype(np.int32)

    def last(stepper):
        stepper.begin(true[:2])
        return [s.state for s in rollout(emulator, start, 20, stepper, Tokens(K))][-1]

    alone = (last(TokenThermalizer(None)) == true[21]).mean()
    found = last(made(logits=way))
    assert found.dtype == np.int32
    assert alone < 0.6 < 0.9 < (found == true[21]).mean()


def test_rows_do_not_know_each_other():
    x = logits(frames(seed=9))
    for way in ("sample", "weigh"):
        whole, some = (stepped(made(logits=way), part) for part in (x, x[:, :2]))
        assert all((a.state[:2] == b.state).all() for a, b in zip(whole, some))


def test_a_row_without_logits_is_dead_and_repeats_itself():
    true = frames(seed=9)
    calls = []

    def emulator(frame):
        calls.append(frame)
        out = logits(np.roll(frame, 1, 1), sharp=40)
        if len(calls) == 3:
            out[2, 5] = -np.inf
        return out

    stepper = made()
    stepper.begin(true[:2])
    steps = list(rollout(emulator, true[1], 6, stepper, Tokens(K)))
    assert [s.action[2] for s in steps] == ["nothing"] * 2 + ["dead"] * 4
    assert all((s.state[2] == true[3, 2]).all() for s in steps[2:])
    assert all((s.state[[0, 1, 3]] == true[k + 2][[0, 1, 3]]).all() for k, s in enumerate(steps))
    assert all(s.action[3] != "dead" for s in steps)
    first = logits(true[0])
    first[1, 0, 0] = np.nan
    with pytest.raises(LemError, match="row 1: the first logits are not finite"):
        made().step(first)


def test_an_emulator_that_sees_several_frames():
    true = frames(seed=9)
    shown = []
    answer = lambda context: shown.append(context) or 40 * np.eye(8)[np.roll(context[:, -1], 1, 1)]
    steps = list(rollout(InContext(answer, true[:3], K), true[2], 4, TokenThermalizer(None), Tokens(K)))
    assert all((s.state == true[k + 3]).all() for k, s in enumerate(steps))
    assert all((seen == true[k : k + 3].transpose(1, 0, 2)).all() for k, seen in enumerate(shown))
    last = InContext(answer, true[:3], K)(true[2])
    assert last.shape == (ROWS, PLACES, K) and (last[..., 8:] == -np.inf).all() and np.isfinite(last[..., :8]).all()


# --- as signals


def test_one_path_with_states():
    """The filter and the loop take a codec and are the same else; a document a step or one file."""
    sequence = spoilt(frames(seed=9))
    codec = Tokens(K)
    long = list(filtered([Signal("tokens", sequence.reshape(-1, PLACES))], made(), ROWS, codec=codec))
    each = list(filtered((Signal("tokens", f) for f in sequence), made(), codec=codec))
    wanted = stepped(made(), sequence)
    for a, b, step in zip(long, each, wanted, strict=True):
        assert a[0].kind == b[0].kind == "tokens"
        assert (a[0].data == step.state).all() and (b[0].data == step.state).all()
    odd = (Signal("embedding", logits(f)) for f in sequence[:3])
    assert [s.kind for s, _ in filtered(odd, made(), codec=codec)] == ["tokens"] * 3
    ahead = driven(lambda f: np.roll(f, 1, 1), sequence[0], 3, TokenThermalizer(None), codec=codec)
    assert [s.kind for s, _ in ahead] == ["tokens"] * 3


@pytest.mark.parametrize(
    "signals, said",
    [
        ([Signal("tokens", np.full((2, 8), K, np.uint8))], "x: token 12 in item 0; the codebook has 0 to 11"),
        ([Signal("tokens", np.array([[0] * 8, [0] * 7 + [-1]], np.int8))], "x: token -1 in item 1"),
        ([Signal("embedding", np.zeros((2, 8, 9), np.float32))], "x: logits of 9 codes, where the codebook has 12"),
        ([Signal("embedding", np.zeros((2, 8), np.float32))], r"x: embedding \[2, 8\], neither tokens"),
        ([Signal("tokens", frames()[0]), Signal("tokens", frames()[0, :, :4])], "4] after 6 frames of"),
        ([Signal("image", np.zeros((1, 1, 8, 8), np.uint8))], "x: image .*, neither"),
    ],
)
def test_what_is_no_frame_is_refused(signals, said):
    with pytest.raises(LemError, match=said):
        list(filtered(signals, made(window=1), where="x", codec=Tokens(K)))


def test_answers_that_are_no_frame_are_refused():
    true, codec = frames(), Tokens(K)
    for answer, said in (
        (np.zeros((ROWS, 3), int), r"the emulator answered tokens \[6, 3\] to frames \[6, 8\]"),
        (np.zeros((ROWS, PLACES), np.float32), r"answered logits \[6, 8\]"),
        (np.zeros((ROWS, PLACES, 3), np.float32), "answered logits of 3 codes, where the codebook has 12"),
        (np.full((ROWS, PLACES), 99), "answered token 99 in item 0"),
    ):
        with pytest.raises(LemError, match=said):
            list(rollout(lambda frame, a=answer: a, true[0], 1, TokenThermalizer(None), codec))
    with pytest.raises(LemError, match="token 299 is beyond uint8"):
        TokenThermalizer(None).step(np.full((1, 8), 299), np.zeros((1, 8), np.uint8))
    with pytest.raises(LemError, match="tokens of uint8, too small for 300 codes"):
        Tokens(300).checked(true[0])
    for wrong in ({"logits": "tip"}, {"temperature": -1}, {"keep_margin": -1.0}):
        with pytest.raises(LemError):
            TokenThermalizer(Windows(Codebook(TABLE)), **wrong)
    with pytest.raises(LemError, match="--codebook"):
        TokenThermalizer(None, logits="expected")
