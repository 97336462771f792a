"""Options of lem-train's models of text."""

from .embeddings import CODE_BITS, CODES, CODING, EMBEDDINGS, RATIO, STAGES, TABLE
from .row import Option
from .thoughts import BY, CARRY, THOUGHTS
from .training import RUNNING

ON = Option(
    "--on", "What is predicted: the next token, or the next vector of K tokens.", ("tokens", "dense"), usual="tokens"
)
CODEC = Option(
    "--codec",
    "Fitted encoders of text (lem-encode, or lem-train token-ae), applied to the text before it is learnt; kmer:K makes tokens of "
    "K bases of a genome.",
    metavar="FILE",
    multiple=True,
    file=True,
)
CONTEXT = Option(
    "--context",
    "Tokens that are seen; of frames, frames, by default 2.",
    "whole",
    low=1,
    metavar="N",
    usual="64 a layer",
)
ARMS = (
    Option(
        "--embedding",
        "How tokens become vectors: by a table (full), or by codes and an up-projection. Codes learn with the task (learned), are "
        "drawn and never learn (random), or are made of a trained table (pca, autoencoder). Or a trained table is kept at a few bits: "
        "its numbers (quantised), its rows along a trellis, or as sums of rows of codebooks (rvq).",
        "choice",
        of=EMBEDDINGS,
        metavar="ARM",
        usual="full",
    ),
    RATIO,
    TABLE,
    CODING,
    CODE_BITS,
    STAGES,
    CODES._replace(default=None, usual="256, of the recipe rvq 1024"),
    Option(
        "--head", "Whether tokens are predicted by the embedding's own vectors.", ("untied", "tied"), usual="untied"
    ),
    THOUGHTS,
    BY,
    CARRY,
)
RUNS = Option(
    "--runs",
    "Train N networks side by side, with the seeds from --seed on, as one model; -o has a %d for the seed (full-%d.safetensors).",
    "whole",
    low=1,
    high=256,
    metavar="N",
    usual="one network",
    section=RUNNING,
)
ASKING = (  # of lm on a task
    Option(
        "--longest",
        "Of a task: symbols of the longest sequence that is learnt.",
        "whole",
        low=1,
        metavar="N",
        usual="40",
    ),
    Option(
        "--asked",
        "Of a task: whether the state is asked for at every position, or at the last alone.",
        ("every", "end"),
        usual="every",
    ),
    Option(
        "--positions",
        "Of a task: where symbols stand that are learnt: one after the other (plain), the same from any place on (moved), or "
        "with gaps, so that all distances within the context occur (spread).",
        ("spread", "plain", "moved"),
        usual="spread",
    ),
    Option(
        "--pause", "Of a task: blank positions after every symbol.", "whole", low=0, high=64, metavar="N", usual="0"
    ),
    Option(
        "--states",
        "Of a task, with --asked end: learn the state at every position, too, by a second head that is not kept.",
        "flag",
    ),
)
GATES = Option(
    "--gates",
    "After N updates, a few hundred, and before any number is printed, find out whether the network learns as one must: below the "
    "entropy of single tokens, no further on a text in random order, by heart, with a gradient for every parameter, blind to what "
    "comes. One that does not ends the run with status 1.",
    "whole",
    low=1,
    metavar="N",
)
CHUNK = Option("--chunk", "Tokens in a vector.", "whole", low=1, metavar="K", usual="4")
