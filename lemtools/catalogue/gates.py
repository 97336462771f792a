"""What tells lem-thermalize that a state has left the manifold.

A gate's function (known, its options by keyword) makes it ready; known is a thermalize.states.Known. It answers a
thermalize.gate.Reader: the level of noise of states float64 [R, D] in coordinates, which the corrector and the Wiener
filter are given, and a score, above whose threshold the corrector is called. Both are [R], nan where a state is not finite.
"""

from .row import Option, Row
from .table import Table

GATE_NEIGHBOURS = Option(
    "--gate-neighbours",
    "Stored states near which a state has to lie.",
    "whole",
    low=2,
    default=32,
    metavar="K",
)
GATE_NOISE = Option(
    "--gate-noise",
    "White noise that a state may have without being far, in standard deviations.",
    "number",
    low=0,
    open=("low",),
    default=0.02,
    metavar="S",
)

GATE_MODEL = Option("--gate-model", "Network of lem-train thermalizer.", metavar="FILE", file=True)

GATES = Table(
    "gate",
    Row(
        "level",
        "thermalize.gate:level",
        "white noise: the s of greatest likelihood under one Gaussian of all stored states and noise s",
        needs=("memory",),
    ),
    Row(
        "distance",
        "thermalize.gate:distance",
        "the distance to the posterior mean under the Gaussian of the nearest stored states: bias, too, where no noise is",
        options=(GATE_NEIGHBOURS, GATE_NOISE),
        needs=("memory",),
    ),
    Row(
        "head",
        "thermalize.heads:head",
        "the level of noise that a network reads, also where one Gaussian is blind",
        options=(GATE_MODEL,),
        needs=("memory",),
    ),
)
