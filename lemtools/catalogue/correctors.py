"""How lem-thermalize puts a state that has left the manifold back on it.

A corrector's function (known, its options by keyword) makes it ready; known is a thermalize.states.Known: stored states,
their Gaussian, and the network of `--model`. It answers (x, previous, level, generators) -> (corrected states, calls a
row): x and previous are float64 [R, D] in coordinates, level [R] is the noise that was read in x. Fact: previous, that
it starts from the state before, and cannot work without one; draws, that it asks the generators; static, that it
answers all rows without waiting for a number on the device (without draws, too, a CUDA graph can hold it).
"""

from .row import Option, Row
from .table import Table

NEIGHBOURS = Option(
    "--neighbours", "Stored states, or patches, that one is compared with.", "whole", low=2, metavar="K", usual="chosen"
)
ANALOGS = Option("--neighbours", "Stored states of which one is drawn.", "whole", low=1, metavar="K", usual="chosen")
PATCH = Option(
    "--patch",
    "Places of a patch in each direction; its middle third is answered.",
    "whole",
    low=1,
    metavar="W",
    usual="chosen",
)
RIDGE = Option(
    "--ridge",
    "Ridge of the local regression, over the mean variance of its states.",
    "number",
    low=0,
    metavar="R",
    usual="chosen",
)
NOISE = Option(
    "--noise",
    "Noise that the corrector adds, in standard deviations, or that conditional adds to the previous state, in rms of that.",
    "number",
    low=0,
    open=("low",),
    metavar="S",
    usual="none for conditional, twice what was read for iterate",
)
STOP = Option(
    "--stop",
    "Noise at which denoising stops, in standard deviations; 0: none is left.",
    "number",
    low=0,
    default=0,
    metavar="S",
)
STEPS = Option(
    "--denoise-steps", "Calls of the denoiser from --noise to --stop.", "whole", low=1, default=10, metavar="K"
)

STATIC = {"draws": False, "static": True}

CORRECTORS = Table(
    "corrector",
    Row(
        "next",
        "thermalize.correctors:following",
        "where stored states like the previous one went: local linear regression on their successors",
        options=(NEIGHBOURS, RIDGE),
        needs=("memory",),
        facts={"previous": True, **STATIC},
    ),
    Row(
        "local",
        "thermalize.patches:local",
        "the same patch by patch, for states too large to come back as a whole",
        options=(PATCH, NEIGHBOURS, RIDGE),
        needs=("memory",),
        facts={"previous": True},
    ),
    Row(
        "memory",
        "thermalize.correctors:local",
        "the posterior mean under the Gaussian of the nearest stored states",
        options=(NEIGHBOURS,),
        needs=("memory",),
        facts=STATIC,
    ),
    Row(
        "wiener",
        "thermalize.correctors:wiener",
        "the posterior mean under the Gaussian of all stored states",
        needs=("memory",),
        facts=STATIC,
    ),
    Row(
        "analog",
        "thermalize.correctors:analog",
        "where one of the stored states nearest to the previous one went, drawn at random",
        options=(ANALOGS,),
        needs=("memory",),
        facts={"previous": True, "static": True},
    ),
    Row("snap", "thermalize.correctors:snap", "the nearest stored state: a control", needs=("memory",), facts=STATIC),
    Row(
        "clip",
        "thermalize.correctors:clip",
        "every value put into the range of the stored ones: a control",
        needs=("memory",),
        facts=STATIC,
    ),
    Row(
        "cap",
        "thermalize.correctors:cap",
        "every Fourier mode no larger than in any stored state: a control",
        needs=("memory",),
        facts=STATIC,
    ),
    Row("net", "thermalize.correctors:net", "the posterior mean by a diffusion network, in one call", needs=("model",)),
    Row(
        "conditional",
        "thermalize.correctors:conditional",
        "the same by a network that is told the previous state, with noise",
        options=(NOISE,),
        needs=("model",),
        facts={"previous": True},
    ),
    Row(
        "iterate",
        "thermalize.correctors:iterate",
        "noise added, then denoised in steps by a diffusion network, after Thermalizer",
        options=(NOISE, STOP, STEPS),
        needs=("model",),
    ),
    Row(
        "residual",
        "thermalize.correctors:residual",
        "what a network of lem-train corrector makes of the previous and the claimed state",
        needs=("model",),
        facts={"previous": True, **STATIC},
    ),
    previous=False,
    draws=True,
    static=False,
)
