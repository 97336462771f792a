"""How the language model of lem-train lm turns tokens into vectors of its width D: the arms of --embedding.

In all arms but `full` a token has a code of d = D / R numbers, and one up-projection, d x D, makes vectors of the codes.
What begins an arm, (embedding, table, seen) -> facts, puts the first values into an Embedding of nets.embedding: of the
trained table [V, D] of another model, and seen, bool [V], whether the text has a token; the rows of others were never
trained. Facts of a row:

    coded      whether there are codes
    learns     {value of --coding: the parts that learn with the task}, of `weight` (the codes; of full the table) and `up`; the
               first is what is meant where none is given. The others stay as they begin
    layered    whether the up-projection may have a hidden layer
"""

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
    "The model of lem-train lm, with a full embedding, of whose trained table codes are made.",
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

BOTH = ("weight", "up")
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
        facts={"learns": {None: ("up",)}, "layered": True},
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
    coded=True,
    layered=False,
)
