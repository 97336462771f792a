"""Maps between spaces of vectors, which lem-encode --encoder translate learns from pairs.

A map is a function (align.pairs.Paired) -> align.maps.Map. The simplest come first: auto
takes a later one only where it is better. Its facts:

    tried    whether auto tries it: not what learns by steps, since it is fitted anew for every fifth that is left out
    linear   whether it is a matrix each way, as the maps of a hub are
    steps    whether it learns by steps: (Paired) -> (encode.learned.Learned, facts), which self-learning does not go on from
"""

from .row import Row
from .table import Table

MAPS = Table(
    "map",
    Row(
        "auto",
        "align.choose:auto",
        "the one of the others that ranks pairs left out best, the first of several",
        facts={"tried": False},
    ),
    Row("procrustes", "align.linear:procrustes", "the nearest rotation, with a scale"),
    Row("cca", "align.linear:cca", "canonical correlations, their penalties by leave-one-out"),
    Row("ridge", "align.linear:ridge", "regression, with the same penalties"),
    Row(
        "relative",
        "align.relative:relative",
        "cosines to the pairs as anchors, and the mean of the other side's",
        facts={"linear": False},
    ),
    Row(
        "mlp",
        "encode.learned:mlp",
        "ridge and a residual network, learnt by steps until pairs left out say to stop",
        facts={"tried": False, "linear": False, "steps": True},
    ),
    tried=True,
    steps=False,
    linear=True,
)
