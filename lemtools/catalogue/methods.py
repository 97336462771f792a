"""How lem-reconstruct recalls.

A method is a function that makes one ready: it takes the resources of `needs` and its options by keyword, and returns a callable (fragments) -> (whole memories, what was done, step by step). `needs` names
what it asks: a store of memories, a network, or either of both. Facts: auto, the place among those that `auto` tries
and the function (fragments, names of what was taken away) -> bool that says whether it is this one's turn; wants, how
a missing resource is asked for; sequences, the kind of its memories, tokens or audio, which may be of any length; family, of the networks that it alone asks; bundled, whether a network comes with the package where none is given.
"""

from .denoisers import SHRINK
from .errors import LemError
from .row import Option, Row
from .shared import AMONG, DEVICE
from .table import Table, listed

SAMPLES = Option(
    "--samples",
    "Draw M plausible memories an item instead of the mean.",
    "whole",
    low=0,
    default=0,
    metavar="M",
)
STEPS = Option(
    "--steps",
    "Iterations of a recurrent network; noise levels of a diffusion model or of dream; conjugate gradients of "
    "least-squares, at most (200).",
    "whole",
    low=1,
    metavar="K",
)
TEMPERATURE = Option(
    "--temperature",
    "Spread of draws: below 1 likelier ones; of tokens 0 takes the likeliest (dream, continue, autoregressive and diffusion "
    "models).",
    "number",
    low=0,
    metavar="T",
    usual="1",
)
SIGMA = Option(
    "--sigma",
    "Standard deviation of the observed values about the truth, in full scales or an embedding's own units; 0 is exact.",
    "number",
    low=0,
    metavar="S",
    usual="by the fragment's operations",
)
PRIOR = Option(
    "--prior",
    "What dream takes the STORE for: recall, its memories themselves; gaussian, their mean and covariance; or mosaics of "
    "their patches, by a machine of lem-els with sizes, as in bbels:5 or time:3x9.",
    default="recall",
    metavar="PRIOR",
)
TILE = Option(
    "--tile",
    "Side of the tiles that large images go through a network in.",
    "whole",
    low=1,
    metavar="PX",
    usual="by memory",
)
LABEL = Option(
    "--label",
    "The class to recall, for a diffusion network that was trained with --labels.",
    "whole",
    low=0,
    metavar="K",
    usual="any",
)
CENTRED = Option("--centred", "Compare by correlation: offset and contrast do not count.", "flag")
UNAWARE = Option("--unaware", "Compare lost values as zeros: the literature's control.", "flag")
SAMPLING = (TEMPERATURE, *AMONG)
MORE = Option(
    "--more",
    "Tokens to add behind the end of every item.",
    "whole",
    low=0,
    metavar="N",
    usual="200 where nothing is lost, else 0",
)
BEAM = Option(
    "--beam",
    "Guesses that are kept while a gap is filled; as many as there are ways to fill it make it exact.",
    "whole",
    low=1,
    metavar="N",
    usual="256",
)
RIGHT = Option(
    "--right",
    "Tokens behind a gap that count for what stands in it.",
    "whole",
    low=0,
    metavar="N",
    usual="8",
)
ORDER = Option(
    "--order", "Tokens before that the counts of ngram go by.", "whole", low=0, high=16, default=5, metavar="N"
)
KEY = Option("--memory-key", "Tensor or array to read from the STORE.", metavar="NAME")
ANSWER = Option(
    "--answer",
    "What to answer with: the memory, or the posterior of the labels, a probability for each class from 0.",
    ("memory", "label"),
    default="memory",
)
LABELS = Option(
    "--labels",
    "Of --answer label: classes of the STORE, whole numbers or names in its order, or a COLUMN of a table that goes by its names.",
    metavar="FILE[:COLUMN]",
    usual="those that the STORE carries",
    file=True,
)
DECODER = Option(
    "--memory-model",
    "A fitted encoder (lem-encode --fit) by which the STORE was encoded: its codes are decoded by it, a tile at a time. "
    "Where it was encoded twice, both of them.",
    metavar="FILE",
    multiple=True,
    file=True,
)

METHODS = Table(
    "method",
    Row("auto", "reconstruct:choose", "chooses by what was taken away", options=(TILE, DEVICE)),
    Row(
        "decode",
        "restore.methods:decode",
        "the middle of the bin, or the centroid; the honest baseline",
        facts={"auto": (3, "reconstruct:nothing_to_guess")},
    ),
    Row("zero", "restore.methods:zero", "the low end of the bin, lost values 0: a control"),
    Row("replicate", "restore.methods:replicate", "the bits repeated down to the last, as displays do: a control"),
    Row("linear", "restore.methods:linear", "linear interpolation of sound: a control"),
    Row(
        "inpaint",
        "restore.methods:inpaint",
        "lost pixels and gaps from what surrounds them, without training",
        facts={"auto": (5, "reconstruct:anything")},
    ),
    Row(
        "smooth",
        "restore.methods:smooth",
        "lost bits by shrinkage inside the bins, and inpaint, without training",
        facts={"auto": (4, "reconstruct:rough")},
    ),
    Row(
        "least-squares",
        "restore.least_squares:least_squares",
        "lost or quantised coefficients of a spectrum, by the sound that agrees best with the rest",
        ("spectrum",),
        (STEPS,),
        facts={"auto": (2, "reconstruct:solvable")},
    ),
    Row(
        "recall",
        "reconstruct.remember:recall",
        "the stored memory that fits, or their softmax",
        options=(KEY, DECODER, ANSWER, LABELS, SAMPLES, SIGMA, CENTRED, UNAWARE, DEVICE),
        needs=("memory",),
    ),
    Row(
        "gaussian",
        "reconstruct.remember:gaussian",
        "the conditional mean under the store's mean and covariance",
        options=(KEY, DECODER, SAMPLES, SIGMA, SHRINK, DEVICE),
        needs=("memory",),
    ),
    Row(
        "net",
        "reconstruct.learned:network",
        "a trained network; without --model the one for images that comes with the package",
        options=(SAMPLES, STEPS, TEMPERATURE, LABEL, TILE, DEVICE),
        needs=("model",),
        facts={"bundled": True},
    ),
    Row(
        "ensemble",
        "reconstruct.ensemble:ensemble",
        "net averaged with smooth or inpaint, by weights that the fragment decides: the default for images",
        options=(TILE, DEVICE),
        needs=("model",),
        facts={"auto": (1, "reconstruct:covered"), "bundled": True},
    ),
    Row(
        "dream",
        "reconstruct.learned:dreamer",
        "posterior draws by a denoiser that knows of no fragments: a store's, or an unconditional --model",
        options=(KEY, DECODER, SAMPLES, PRIOR, SHRINK, STEPS, TEMPERATURE, DEVICE),
        needs=("memory", "model"),
        facts={"wants": "what to dream of: --memory STORE or an unconditional --model"},
    ),
    Row(
        "continue",
        "reconstruct.continuing:continuer",
        "lost tokens, and more behind the end, one after another, each from those before it, by a model of lem-train lm",
        ("tokens",),
        (SAMPLES, *SAMPLING, MORE, DEVICE),
        needs=("model",),
        facts={"family": "language", "wants": "a model of lem-train lm: --model MODEL"},
    ),
    Row(
        "fill",
        "reconstruct.filling:filler",
        "lost tokens by what fits both sides, by a model of lem-train lm and a beam of guesses",
        ("tokens",),
        (SAMPLES, BEAM, RIGHT, DEVICE),
        needs=("model",),
        facts={"family": "language", "wants": "a model of lem-train lm: --model MODEL"},
    ),
    Row(
        "ngram",
        "reconstruct.counting:ngram",
        "lost tokens by what fits both sides, by counts of the store's texts (Witten and Bell's n-grams), exactly",
        ("tokens",),
        (KEY, SAMPLES, ORDER),
        needs=("memory",),
        facts={"sequences": "tokens", "wants": "texts to count: --memory STORE"},
    ),
    Row(
        "power",
        "reconstruct.power:power",
        "lost bits of sounds, by the power that a store's sounds have where they are broken alike",
        ("audio",),
        (KEY,),
        needs=("memory",),
        facts={"sequences": "audio", "wants": "sounds to learn from: --memory STORE"},
    ),
    auto=None,
    bundled=False,
    wants="a store of memories: --memory STORE",
    family="",
    sequences="",
)


def meant(method: str, memory: bool, model: bool) -> str:
    """The method that a user means who gave a store of memories or a network, or neither.

    LemError where the method lacks what it needs, or has no use for what was given. A network that comes with the package
    need not be given.
    """
    row = METHODS.find(method)
    if memory and model:
        raise LemError("--memory and --model: give one of them")
    for name, here in (("memory", memory), ("model", model)):
        if here and method != "auto" and name not in row.needs:
            users = listed(other.name for other in METHODS.rows if name in other.needs)
            raise LemError(f"--method {method} does not use a --{name}; {users} do")
    if method == "auto":
        return "recall" if memory else "net" if model else "auto"
    if row.needs and not (row.bundled or memory or model):
        raise LemError(f"--method {method} needs {row.wants}")
    return method
