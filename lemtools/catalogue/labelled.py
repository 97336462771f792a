"""What lem-compare --labels measures, of one or two sets of embeddings whose items have labels by name.

A metric is a function (compare.groups.Groups, compare.labelled.Asked) -> Estimates (compare.labelled.Estimate). Facts:

    better    'higher' or 'lower': which way labels shuffled within speakers must be beaten; '' for no p
    unit      of the values
    centred   it is measured with every speaker's mean taken away, too
    shuffled  it stands beside what the same labels say when they are shuffled within speakers
    needs     'neutral': a class that shifts are measured from; 'cross': two sides
"""

from .metrics import taking
from .row import Option, Row
from .table import Table

VECTORS = ("embedding",)
RMS = "rms within speaker and class"

LABELLED = Table(
    "metric of labelled sets",
    Row(
        "purity",
        "compare.labelled:purity",
        "share of the 5 nearest neighbours, among other speakers' items, of an item's class",
        VECTORS,
        facts={"better": "higher"},
    ),
    Row(
        "accuracy",
        "compare.labelled:accuracy",
        "share of items whose class a shrunken linear discriminant of the other speakers finds",
        VECTORS,
        facts={"better": "higher"},
    ),
    Row(
        "silhouette",
        "compare.labelled:silhouette",
        "silhouette of the classes, and of the speakers beside it",
        VECTORS,
        facts={"better": "higher"},
    ),
    Row(
        "dispersion",
        "compare.labelled:dispersion",
        "share of the variance that lies within speaker and class",
        VECTORS,
        facts={"better": "lower"},
    ),
    Row(
        "shift",
        "compare.labelled:shift",
        "distance of a speaker's classes from the neutral one; of --features, signed and in their units",
        VECTORS,
        needs=("neutral",),
        facts={"better": "higher", "unit": RMS, "centred": False},
    ),
    Row(
        "interaction",
        "compare.labelled:interaction",
        "whether these shifts differ between the two sides of --cross, and how much",
        VECTORS,
        needs=("neutral", "cross"),
        facts={"centred": False, "shuffled": False},
    ),
    better="",
    unit="",
    centred=True,
    shuffled=True,
)

NEUTRAL = "neutral"
OPTIONS = (
    Option(
        "--labels",
        "Compare sets of embeddings by the labels of their items: a table with a header (tab, comma or semicolon) whose "
        f"first column is the items' names, with or without folders and extension. Measured: {', '.join(LABELLED)}. With "
        f"--judge, or --metric {', '.join(taking('classes'))}: the classes of the originals, also as whole numbers or names in their order, or the word folder.",
        metavar="FILE[:COLUMN]",
        file=True,
    ),
    Option("--by", "Of --labels: the column of the classes that are told apart.", metavar="COLUMN"),
    Option(
        "--leave", "Of --labels: the column of what is left out in turn, and drawn for intervals.", metavar="COLUMN"
    ),
    Option(
        "--cross",
        "Of --labels: a column with two values; do the classes' shifts from --neutral differ between them?",
        metavar="COLUMN",
    ),
    Option(
        "--neutral",
        "The class from which shifts are measured.",
        metavar="CLASS",
        usual=f"{NEUTRAL}, where it is one of them",
    ),
    Option(
        "--features",
        "Dimensions whose shifts are measured one by one, named before looking, separated by commas: names, as of "
        "lem-encode --encoder prosody, or numbers from 0. Their p values for --cross are Holm's.",
        metavar="NAMES",
    ),
    Option(
        "--control",
        "Embeddings of sounds made by one set of rules for both values of --cross, with rows in --labels, too: where "
        "an interaction is found in them, nothing is said of the others.",
        metavar="FILE",
        file=True,
    ),
    Option(
        "--bound",
        "Shifts that differ by less than this, in units of the rms within speaker and class, count as none: only with "
        "it, a difference can be called absent.",
        "number",
        low=0,
        open=("low",),
        metavar="D",
    ),
    Option(
        "--same",
        "Of two sets, keep the items whose value in this column, such as the sentence, both sets have for their class.",
        metavar="COLUMN",
    ),
)
