"""How the language model of lem-train lm turns tokens into vectors of its width D: the arms of --embedding.

In most arms but `full` a token has a code of d = D / R numbers, and one up-projection, d x D, makes vectors of the codes. In
those that are `packed` the trained table of another model is kept at a few bits, and the network learns around it.
What begins an arm, (embedding, table, seen) -> facts, puts the first values into an Embedding of nets.embedding: of the
trained table [V, D] of another model, and seen, bool [V], whether the text has a token; the rows of others were never
trained. Facts of a row:

    coded      whether there are codes
    learns     {value of --coding: the parts that learn with the task}, of `weight` (the codes; of full the table) and `up`; the
               first is what is meant where none is given. The others stay as they begin
    seeded     whether the codes stay as they were drawn, and so follow from the seed alone
    layered    whether the up-projection may have a hidden layer
    packed     the quantiser by which a table is kept as codes (nets.packed): one of operations.QUANTISERS, or rvq; None: none
    usual      bits of its codes where none are given
"""

from .encoding import RESIDUAL
from .operations import QUANTISERS
from .row import Option, Row
from .table import Table

RATIO = Option(
    "--ratio",
    "Numbers of the width to one of a token's code: the code has D / R.",
    "whole",
    low=1,
    metavar="R",
    usual="1",
)
TABLE = Option(
    "--table",
    "The model of lem-train lm, with a full embedding, of whose trained table codes are made; of --runs, with a %d, that of "
    "each seed.",
    metavar="MODEL",
    file=True,
)
CODING = Option(
    "--coding",
    "What becomes of codes that were made of a table: they stay as they are (frozen), learn on with the task (tuned), or "
    "are made by an encoder that learns with the task (joint).",
    ("frozen", "tuned", "joint"),
    usual="frozen",
)

CODE_BITS = Option(
    "--code-bits",
    f"Bits of each number of a quantised table, 1 to 16; of a trellis up to {QUANTISERS['trellis'].most}.",
    "whole",
    low=1,
    high=16,
    metavar="B",
    usual="8, of a trellis 2",
)
STAGES, CODES = (
    next(option for option in RESIDUAL if option.name == name)._replace(settled=False, default=default)
    for name, default in (("stages", 4), ("codes", 256))
)

BOTH = ("weight", "up")
STILL = {"frozen": ()}  # what learns of a table that is kept as codes
EMBEDDINGS = Table(
    "embedding",
    Row(
        "full",
        "nets.embedding:drawn",
        "a table of V x D, learnt",
        facts={"coded": False, "learns": {None: ("weight",)}},
    ),
    Row(
        "learned",
        "nets.embedding:drawn",
        "codes, V x d, learnt",
        options=(RATIO,),
        facts={"learns": {None: BOTH}, "layered": True},
    ),
    Row(
        "random",
        "nets.embedding:drawn",
        "codes, V x d, drawn and never learnt",
        options=(RATIO,),
        facts={"learns": {None: ("up",)}, "layered": True, "seeded": True},
    ),
    Row(
        "pca",
        "train.tables:pca",
        "principal components of a trained table",
        options=(RATIO, TABLE, CODING),
        needs=("table",),
        facts={"learns": {"frozen": (), "tuned": BOTH}},
    ),
    Row(
        "autoencoder",
        "train.tables:autoencoder",
        "codes of an autoencoder of a trained table",
        options=(RATIO, TABLE, CODING),
        needs=("table",),
        facts={"learns": {"frozen": (), "tuned": BOTH, "joint": ("up",)}, "layered": True},
    ),
    Row(
        "quantised",
        "train.tables:scaled",
        "a trained table, number by number at a few bits",
        options=(TABLE, CODE_BITS),
        needs=("table",),
        facts={"coded": False, "learns": STILL, "packed": "lloyd-max", "usual": 8},
    ),
    Row(
        "trellis",
        "train.tables:scaled",
        "the same along a trellis, row by row",
        options=(TABLE, CODE_BITS),
        needs=("table",),
        facts={"coded": False, "learns": STILL, "packed": "trellis", "usual": 2},
    ),
    Row(
        "rvq",
        "train.tables:summed",
        "a trained table as sums of rows of codebooks",
        options=(TABLE, STAGES, CODES),
        needs=("table",),
        facts={"coded": False, "learns": STILL, "packed": "rvq"},
    ),
    coded=True,
    seeded=False,
    layered=False,
    packed=None,
    usual=None,
)
