"""Denoisers over stored memories: the machines of lem-els, and what lem-reconstruct takes a store for.

A denoiser's function (memories, how) makes it ready: memories are an els.bank.Bank of images or a denoise.store.Store,
and `how` is a denoise.how.How, from which it takes what it needs. Facts: machine, that lem-els has it; prior, that
`lem-reconstruct --method dream` can take a store for it; local, that it compares patches and so takes their sizes;
plain, that it computes in float32, which MPS can.
"""

from collections.abc import Iterator

from .row import Option, Row
from .table import Table

PLACES = ("image", "field")  # items whose values lie at places
SHRINK = Option(
    "--shrink",
    "Ridge of the covariance over its mean eigenvalue, or oas, or ledoit-wolf.",
    default="1e-4",
    metavar="R",
    words=("oas", "ledoit-wolf"),
)
SCALES = Option(
    "--scales",
    "Patch size in px: one number, one for each step (low noise first: 3,3,5,...), or a file of --calibrate.",
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
            facts={"machine": True, "prior": True, "local": True},
        )
        for name, text in (
            ("ls", "patches of the same place"),
            ("els", "patches of all places, circular"),
            ("bbels", "patches of all places that lie alike to the border"),
        )
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
    plain=False,
)


def named(fact: str) -> list[str]:
    """The denoisers that a fact is true of, as they are in the table at this moment."""
    return [row.name for row in DENOISERS.rows if row.facts[fact]]


class Named:
    """The same as a set of words for options, which follows the table."""

    def __init__(self, fact: str):
        self.fact = fact

    def __iter__(self) -> Iterator[str]:
        return iter(named(self.fact))
