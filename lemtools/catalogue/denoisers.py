"""Denoisers over stored memories: the machines of lem-els, and what lem-reconstruct takes a store for.

A denoiser's function (memories, how) makes it ready: memories are an els.bank.Bank of images or a denoise.store.Store,
and `how` is a denoise.how.How, from which it takes what it needs. Facts: machine, that lem-els has it; prior, that
`lem-reconstruct --method dream` can take a store for it; local, that it looks at patches and so takes their sizes; traced,
that it averages them, so that a pixel can be traced to one; axes, the rules of els.plan by which it does along rows and
along columns, EQUIVARIANT where that depends on the padding of the network; plain, that it computes in float32, which
MPS can.
"""

from collections.abc import Iterator

from .row import Option, Row
from .table import Table

PLACES = ("image", "spectrum", "field")  # items whose values lie at places
EQUIVARIANT = "equivariant"  # along an axis: bbels where the network is padded with zeros, els where it is circular
EQUIVARIANCE = Option(
    "--equivariance",
    "Directions in which the machine takes all places for alike: both, time (along columns), freq (along rows) or none.",
    ("both", "time", "freq", "none"),
    usual="both",
)
SHRINK = Option(
    "--shrink",
    "Ridge of the covariance over its mean eigenvalue, or oas, or ledoit-wolf.",
    default="1e-4",
    metavar="R",
    words=("oas", "ledoit-wolf"),
)
SCALES = Option(
    "--scales",
    "Patch size: one for all steps, one for each (low noise first: 3,3,5x9,...), or a file of --calibrate.",
    metavar="SIZES",
    file=True,
)
SKIP = Option(
    "--skip",
    "Leave out training patches of negligible weight, up to this share of the total; 0: none.",
    "number",
    low=0,
    high=1,
    open=("high",),
    default=1e-6,
    metavar="S",
)

DENOISERS = Table(
    "denoiser",
    Row("recall", "denoise.memory:remembered", "the memories themselves", facts={"prior": True, "plain": True}),
    Row(
        "gaussian",
        "denoise.gaussian:fitted",
        "a Gaussian with their mean and covariance",
        options=(SHRINK,),
        facts={"prior": True},
    ),
    Row("is", "els.whole:ideal", "whole images: the ideal score", PLACES, facts={"machine": True}),
    Row(
        "es",
        "els.whole:translated",
        "whole images under every circular translation",
        PLACES,
        options=(SKIP,),
        facts={"machine": True},
    ),
    *(
        Row(
            name,
            f"els.posterior:{name}",
            text,
            PLACES,
            options=(SCALES, SKIP),
            facts={"machine": True, "prior": True, "local": True, "traced": True, "axes": axes},
        )
        for name, axes, text in (
            ("ls", ("ls", "ls"), "patches of the same place"),
            ("els", ("els", "els"), "patches of all places, circular"),
            ("bbels", ("bbels", "bbels"), "patches of all places that lie alike to the border"),
            ("both", (EQUIVARIANT, EQUIVARIANT), "patches of all places, by the network's padding"),
            ("time", ("ls", EQUIVARIANT), "patches of the same row"),
            ("freq", (EQUIVARIANT, "ls"), "patches of the same column"),
            ("none", ("ls", "ls"), "patches of the same place"),
        )
    ),
    Row(
        "linear",
        "els.linear:linear",
        "the control: the best linear filter of such patches",
        PLACES,
        options=(SCALES, EQUIVARIANCE),
        facts={"machine": True, "local": True},
    ),
    Row(
        "wiener",
        "els.whole:wiener",
        "the control: a Gaussian with the images' mean and covariance",
        PLACES,
        facts={"machine": True},
    ),
    machine=False,
    prior=False,
    local=False,
    traced=False,
    axes=(),
    plain=False,
)

COMPARED = {  # what lem-els --against compares, by the kind of the bank
    "image": ("is", "es", "ls", "els", "bbels", "linear", "wiener"),
    "spectrum": ("both", "time", "freq", "none", "linear", "is", "wiener"),
}


def named(fact: str) -> list[str]:
    """The denoisers that a fact is true of, as they are in the table at this moment."""
    return [row.name for row in DENOISERS.rows if row.facts[fact]]


class Named:
    """The same as a set of words for options, which follows the table."""

    def __init__(self, fact: str):
        self.fact = fact

    def __iter__(self) -> Iterator[str]:
        return iter(named(self.fact))
