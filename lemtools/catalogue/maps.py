"""Maps between spaces of vectors, which lem-encode --encoder translate learns from pairs.

A map is a function (align.pairs.Paired) -> align.maps.Map. Of several that are equally good auto takes the first. Its fact:

    tried   whether auto tries it
"""

from .row import Row
from .table import Table

MAPS = Table(
    "map",
    Row(
        "auto",
        "align.choose:auto",
        "the first of the others that none ranks pairs left out better than",
        facts={"tried": False},
    ),
    Row("cca", "align.linear:cca", "canonical correlations, with the same penalties"),
    Row("procrustes", "align.linear:procrustes", "the nearest rotation, with a scale"),
    Row("ridge", "align.linear:ridge", "regression, its penalty by leave-one-out"),
    Row("relative", "align.relative:relative", "cosines to the pairs as anchors, and the mean of the other side's"),
    tried=True,
)
