"""The catalogue: one row for everything that the tools know by name.

Fourteen tables, in modules of this package:

    operations  OPERATIONS, what lem-fragment takes away; SHAPES of a mask; QUANTISERS
    encoders    ENCODERS of lem-encode
    networks    NETWORKS that lem-train trains
    recipes     RECIPES of lem-train
    embeddings  EMBEDDINGS of lem-train lm
    tasks       TASKS of lem-train lm
    thoughts    WAYS and CARRIES of the thoughts of lem-train lm
    denoisers   DENOISERS over stored memories: the machines of lem-els, the priors of lem-reconstruct
    metrics     METRICS of lem-compare
    methods     METHODS of lem-reconstruct
    correctors  CORRECTORS of lem-thermalize
    gates       GATES of lem-thermalize

A new thing is one function (or class) in the room that it belongs to, and one row here. The commands' options, their
help and refusals, the man pages, the completions, the keys of TOML files and what a stream may contain come from the
rows. Nothing here loads numpy or torch: a row names its function, which is imported when it is used.
"""

from .errors import LemError
from .row import Option, Row, loaded
from .table import Table, listed, near

__all__ = ["LemError", "Option", "Row", "Table", "listed", "loaded", "near"]
