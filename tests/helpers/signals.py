"""A whole memory of every kind, what may be taken from it, and equality of signals."""

import numpy as np

from lemtools.signal import Signal

RNG = np.random.default_rng(5)
WHOLE = {
    "image8": lambda n: Signal("image", RNG.integers(0, 256, (n, 3, 8, 16), dtype=np.uint8)),
    "image": lambda n: Signal("image", RNG.random((n, 3, 8, 16), dtype=np.float32)),
    "audio": lambda n: Signal("audio", RNG.uniform(-1, 1, (n, 2, 96)).astype(np.float32), rate=8000.0),
    "spectrum": lambda n: Signal("spectrum", RNG.standard_normal((n, 2, 8, 16)).astype(np.float32), rate=100.5),
    "embedding": lambda n: Signal("embedding", RNG.standard_normal((n, 128)).astype(np.float32)),
    "embedding16": lambda n: Signal("embedding", RNG.standard_normal((n, 32)).astype(np.float16)),
    "embedding64": lambda n: Signal("embedding", RNG.standard_normal((n, 32))),
    "sequence": lambda n: Signal("embedding", RNG.standard_normal((n, 6, 8)).astype(np.float32)),
    "tokens": lambda n: Signal("tokens", RNG.integers(0, 9, (n, 40))),
    "tokens8": lambda n: Signal("tokens", RNG.integers(0, 255, (n, 40), dtype=np.uint8)),
}
OPS = [
    [],
    [{"op": "mask", "mask": 0.5}],
    [{"op": "bits", "bits": 3}],
    [{"op": "bits", "bits": (1, 6)}],
    [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": (0.1, 0.9)}],
    [{"op": "bits", "bits": 11}],
    [{"op": "bits", "bits": 3, "quantizer": "lloyd-max"}, {"op": "mask", "mask": 1.0}],
    [{"op": "noise", "sigma": (0.1, 0.2)}, {"op": "bits", "bits": 5}],
    [{"op": "crop", "crop": "4"}],
]


def same(a: Signal, b: Signal) -> None:
    """Every field of two signals is equal, types included."""
    for name in ("data", "mask", "codes", "label", "index", "cost"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y), name
    assert (a.kind, a.names, a.history, a.rate) == (b.kind, b.names, b.history, b.rate)
    assert len(a.ops) == len(b.ops)
    for p, q in zip(a.ops, b.ops):
        p, q = ({k: v for k, v in op.items() if v is not None} for op in (p, q))
        assert p.keys() == q.keys()
        for k in p:
            assert np.array_equal(p[k], q[k]) and isinstance(p[k], np.ndarray) == isinstance(q[k], np.ndarray), k
