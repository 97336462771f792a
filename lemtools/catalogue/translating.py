"""Options of lem-encode --encoder translate, of a map between two spaces and of a hub of several, and of lem-train translate."""

from .maps import MAPS
from .row import Option

TRANSLATE = (
    Option(
        "--onto",
        "What the input is paired with: embeddings of the same items by another model. Items pair by name where both "
        "have names, else by order; of items [L, D] position by position; activations of other tokens (--codec) where a token of both "
        "ends at the same byte.",
        metavar="FILE",
        settled=True,
        file=True,
    ),
    Option(
        "--map",
        "How one space becomes the other: {of}; auto leaves pairs out and says what it chose.",
        "choice",
        of=MAPS,
        usual="auto",
        metavar="MAP",
        settled=True,
    ),
    Option(
        "--pairs",
        "Fit to K pairs of vectors, drawn by --seed.",
        "whole",
        low=2,
        usual="all",
        metavar="K",
        settled=True,
    ),
    Option(
        "--more",
        "Go on from the pairs by self-learning: vectors of the space of the input that need no partner. Names are not looked at. "
        "Pairs left out say whether that helps, and after how many rounds to stop.",
        metavar="FILE",
        settled=True,
        file=True,
    ),
    Option("--onto-more", "The same for the space of --onto.", metavar="FILE", settled=True, file=True),
    Option(
        "--unpaired",
        "Fit without pairs: names and order are not looked at. It takes minutes, and says so where nothing stands out from chance.",
        "flag",
        settled=True,
    ),
    Option(
        "--common",
        "Fit a hub of W numbers, one space for all inputs: each is a space, called as its file without the extension, and "
        "their items pair as with --onto.",
        "whole",
        low=1,
        high=8192,
        metavar="W",
        settled=True,
    ),
    Option(
        "--add",
        "Join a space to the hub of --model, which stays as it is: these embeddings are paired with the inputs, each of a "
        "space of the hub and called so (their hub vectors' mean, where there are several).",
        metavar="FILE",
        settled=True,
        file=True,
    ),
    Option("--from", "Which space of a hub the input is of.", metavar="NAME", param="from_space"),
    Option(
        "--to-space",
        "Which space of a hub to decode into.",
        usual="that which it came from",
        metavar="NAME",
        decodes=True,
    ),
)

LEARNT = (
    Option(
        "--pairs",
        "Learn from K of the pairs, drawn by --seed, the same as lem-encode --fit --pairs takes.",
        "whole",
        low=2,
        usual="all",
        metavar="K",
    ),
    Option(
        "--more",
        "Vectors of the space of the data that need no partner, learnt from by neighbours, cycles and cosines (--arch latent). Names are "
        "not looked at.",
        metavar="FILE",
        multiple=True,
        file=True,
    ),
    Option("--onto-more", "The same for the space of --onto.", metavar="FILE", multiple=True, file=True),
    Option(
        "--unpaired",
        "Learn without pairs: names and order of the data and of --onto are not looked at (--arch latent). lem-encode --fit --unpaired "
        "says whether what stands out is more than chance; here nothing does.",
        "flag",
    ),
    Option(
        "--onto",
        "What the data are paired with: embeddings of the same items by another model, item by item; of items [L, D] position by "
        "position.",
        metavar="FILE",
        multiple=True,
        file=True,
    ),
    Option(
        "--reader",
        "The language model (lem-train lm) that reads the translation, of sequences of its activations: what is made small is "
        "how far its probabilities are from those with its own, in place of the squared error.",
        metavar="MODEL",
        file=True,
    ),
    Option("--reader-layer", "Where it reads: before block K.", "whole", low=0, metavar="K", usual="the last block"),
)
