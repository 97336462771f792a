"""Small language models, and fragments of tokens."""

import numpy as np
import torch

from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.nets.reader import begins
from lemtools.signal import Signal

CONTEXT, KINDS = 8, 3


def model(vocabulary=KINDS, context=CONTEXT, spread=1.0):
    """One whose probabilities are far from even."""
    torch.manual_seed(1)
    net = {"net": "lm", "vocabulary": vocabulary, "depth": 2, "width": 16, "heads": 2, "context": context}
    made = build(net).eval()
    torch.nn.init.normal_(made.head.weight, std=spread)
    item = [context + 1]
    meta = {"v": 1, "recipe": "lm", "net": net, "kind": "tokens", "item": item, "fragment": []}
    return Model(made, meta | {"target": {"kind": "tokens", "item": item}})


def broken(rows=6, length=12, keep=(0, 1, 2), vocabulary=KINDS, seed=0):
    """Tokens of which all but those at the places `keep` are lost."""
    x = np.random.default_rng(seed).integers(0, vocabulary, (rows, length)).astype(np.uint8)
    mask = np.zeros((rows, length), bool)
    mask[:, list(keep)] = True
    return Signal("tokens", x * mask, mask=mask, ops=[{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}])


def log_p(known, tokens):
    """Nats of all tokens but the first, each by one call without a cache."""
    tokens = torch.from_numpy(np.asarray(tokens, np.int64))[None].to(known.net.head.weight.device)
    total = 0.0
    with torch.inference_mode():
        for place in range(1, tokens.shape[1]):
            said = known.net(tokens[:, begins(place, known.net.context) : place])[0, -1].double()
            total += float(said.log_softmax(-1)[tokens[0, place]])
    return total
