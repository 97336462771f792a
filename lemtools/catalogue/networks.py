"""Networks that lem-train trains.

A network is an nn.Module with a class attribute `family`, which says how it is called (see nets), and keyword
arguments that JSON can hold. Its options are those that a user may choose, as NAME=VALUE of --set; what else it takes
by keyword follows from the data (shapes, classes, a codec). Its facts: the family, and presets: {name: {property:
value}}, where nothing else is chosen. reads: of those of a language, 'tokens' or 'vectors'. stored: {what lem-info counts by itself: how the names of its tensors begin}.
"""

from typing import Any

from .embeddings import CODE_BITS, CODES, CODING, EMBEDDINGS, STAGES
from .row import Option, Row
from .table import Table

SMALL = "quick"  # a preset that trains on a CPU in five minutes
IMAGES, VALUES = ("image", "spectrum", "field"), ("image", "spectrum", "field", "embedding")

WIDTH = Option("width", "features a layer", "whole", low=1)
BLOCKS = Option("blocks", "residual blocks", "whole", default=6, low=1)
LOST = Option("lost", "size of the residual of a lost value", "number", default=0.5)
PREDICTS = Option("predicts", "what it answers", ("eps", "x0", "v"), default="eps")
AROUND = ("zeros", "circular")  # along one axis
PADDING = Option(
    "padding",
    "what lies beyond the border; two words are those of rows and columns",
    (*AROUND, "zeros,circular", "circular,zeros"),
    default="zeros",
)
COORDINATES = Option(
    "coordinates",
    "planes that it is shown besides: the place in the rows (frequency), in the columns (time), each from -1 to 1",
    ("none", "frequency", "time", "both"),
    default="none",
)
DIAL = (
    Option("depth", "blocks; the rest follows from them", "whole", default=4, low=1),
    Option("width", "features, 64 a layer", "whole", low=1),
    Option("heads", "of attention, one in 64 features", "whole", low=1),
    Option("context", "tokens that it sees, 64 a layer", "whole", low=1),
)
EMBEDDING = (  # of a language model on tokens
    Option("embedding", "how tokens become vectors", "choice", of=EMBEDDINGS, default="full"),
    Option("ratio", "numbers of the width to one of a code", "whole", default=1, low=1),
    Option("coding", "what becomes of codes of a table", CODING.type),
    Option("hidden", "features of a hidden layer in the up-projection; 0: none", "whole", default=0, low=0),
    Option("head", "whether its table is the embedding's", ("untied", "tied"), default="untied"),
    *(option._replace(flag=option.name, default=None) for option in (CODE_BITS, STAGES, CODES)),
)
THINKING = (  # of the same
    Option("thoughts", "share of the width that the head does not read; 0: none", "number", default=0.0, low=0, high=1),
    Option("thoughts_by", "how they are found: bptt:K or passes:K"),
    Option("thoughts_carry", "what arrives of them: normal, shuffled, reset:N or none", default="normal"),
)


def _with(option: Option, default: Any) -> Option:
    return option._replace(default=default)


NEAR = (  # of networks that step or correct
    _with(WIDTH, 32),
    _with(BLOCKS, 3),
    Option("side", "places of a window, odd", "whole", default=7, low=1, high=99),
    Option("dilations", "of the blocks, over and over", default=(1,)),
    _with(PADDING, "circular"),
)
ALL = (_with(WIDTH, 256), Option("depth", "residual blocks", "whole", default=2, low=0))

NETWORKS = Table(
    "network",
    Row(
        "mlp",
        "nets.mlp:MLP",
        "vectors and small images, all at once",
        VALUES,
        (_with(WIDTH, 512), Option("depth", "residual blocks", "whole", default=2, low=0), _with(LOST, 1.0)),
        facts={"family": "estimate", "presets": {SMALL: {"width": 256}}},
    ),
    Row(
        "conv",
        "nets.conv:Restorer",
        "images of any size, on several scales",
        ("image",),
        (
            Option("widths", "features on grids each twice as coarse as the one before", default=(80, 112, 128)),
            Option("blocks", "residual blocks on the way down and up", default=(4, 1, 1, 1, 4)),
            Option("shuffle", "side in pixels of the finest cells", "whole", default=2, low=1),
            _with(LOST, 0.25),
            Option("details", "windows of local contrast that it is shown", default=(3, 9, 27)),
            Option("opponent", "the same of each channel less the mean over channels", "flag", default=False),
        ),
        facts={
            "family": "estimate",
            "presets": {SMALL: {"widths": (24, 32, 48), "blocks": (1, 1, 1, 1, 1), "details": (3, 9)}},
        },
    ),
    Row(
        "flat",
        "nets.conv:Flat",
        "images and spectra of any size, at full resolution",
        IMAGES,
        (
            _with(WIDTH, 64),
            BLOCKS,
            Option("dilations", "of the blocks, over and over", default=(1, 2, 4)),
            LOST,
        ),
        facts={"family": "estimate", "presets": {SMALL: {"width": 32, "blocks": 4}}},
    ),
    Row(
        "gru",
        "nets.recurrent:Recurrent",
        "one gated block, again and again",
        VALUES,
        (
            _with(WIDTH, 64),
            Option("steps", "how often the block is applied", "whole", default=8, low=1, high=1024),
            Option("shuffle", "side in pixels of the cells of the state", "whole", default=2, low=1),
            LOST,
        ),
        facts={"family": "estimate", "presets": {SMALL: {"width": 32, "steps": 4}}},
    ),
    Row(
        "transformer",
        "nets.transformer:Transformer",
        "value by value, in any order",
        ("image", "embedding"),
        (
            _with(WIDTH, 128),
            Option("depth", "blocks", "whole", default=5, low=1),
            Option("heads", "of attention", "whole", default=4, low=1),
            Option("mixtures", "logistic distributions a value", "whole", default=10, low=1),
            Option("levels", "of a value; 0 for a density", "whole", low=0),
            Option("order", "in which values are recalled", ("any", "raster"), default="any"),
        ),
        facts={"family": "sequence", "presets": {SMALL: {"width": 48, "depth": 2, "heads": 2, "mixtures": 3}}},
    ),
    Row(
        "resnet",
        "nets.diffusion:ResNet",
        "3 x 3 convolutions, images and spectra of any size",
        IMAGES,
        (_with(WIDTH, 256), BLOCKS, PADDING, COORDINATES, PREDICTS),
        facts={"family": "denoise", "presets": {SMALL: {"width": 32, "blocks": 4}}},
    ),
    Row(
        "unet",
        "nets.diffusion:UNet",
        "the same on several grids",
        IMAGES,
        (
            Option("widths", "features on grids each twice as coarse", default=(64, 128, 256)),
            PADDING,
            COORDINATES,
            PREDICTS,
        ),
        facts={"family": "denoise", "presets": {SMALL: {"widths": (16, 32, 48)}}},
    ),
    Row(
        "mlp-denoiser",
        "nets.diffusion:Vector",
        "vectors and small images, all at once",
        VALUES,
        (_with(WIDTH, 512), Option("depth", "residual blocks", "whole", default=4, low=0), PREDICTS),
        facts={"family": "denoise", "presets": {SMALL: {"width": 256, "depth": 2}}},
    ),
    Row(
        "conv-step",
        "nets.emulator:ConvStep",
        "the next state, from what is near every place",
        ("field",),
        NEAR,
        facts={"family": "step"},
    ),
    Row(
        "mlp-step",
        "nets.emulator:VectorStep",
        "the next state, from all places at once",
        ("field",),
        ALL,
        facts={"family": "step"},
    ),
    Row(
        "frames",
        "nets.frames:FrameTransformer",
        "the next frame of tokens, all its places at once",
        ("tokens",),
        (
            Option("context", "frames that it sees", "whole", default=2, low=1),
            Option("depth", "blocks", "whole", default=3, low=1),
            _with(WIDTH, 64),
            Option("heads", "of attention", "whole", default=4, low=1),
        ),
        facts={"family": "frames"},
    ),
    Row(
        "conv-correct",
        "nets.emulator:ConvCorrect",
        "the next state, from the one before and a claimed one, near every place",
        ("field",),
        NEAR,
        facts={"family": "correct"},
    ),
    Row(
        "mlp-correct",
        "nets.emulator:VectorCorrect",
        "the same from all places at once",
        ("field",),
        ALL,
        facts={"family": "correct"},
    ),
    Row(
        "conv-level",
        "nets.level:ConvLevel",
        "the noise in a state, from how loud filters are over all places",
        ("field",),
        (*NEAR[:2], _with(NEAR[2], 5), *NEAR[3:]),
        facts={"family": "level"},
    ),
    Row(
        "mlp-level",
        "nets.level:VectorLevel",
        "the same from all places at once",
        ("field", "embedding"),
        ALL,
        facts={"family": "level"},
    ),
    Row(
        "conv-boundary",
        "nets.boundary:ConvBoundary",
        "where one phone gives way to the next, in a window of sound",
        ("audio",),
        (
            _with(WIDTH, 48),
            _with(BLOCKS, 3),
            Option("side", "frames of a convolution, odd", "whole", default=5, low=1, high=99),
        ),
        facts={"family": "boundary"},
    ),
    Row(
        "lm",
        "nets.lm:LM",
        "text, token by token",
        ("tokens",),
        (*DIAL, *EMBEDDING, *THINKING),
        facts={
            "family": "language",
            "reads": "tokens",
            "presets": {SMALL: {"depth": 2}},
            "stored": {"embedding": "enter.weight", "up-projection": "enter.up.", "head": "head."},
        },
    ),
    Row(
        "gru-lm",
        "nets.rnn:GruLM",
        "the same by a GRU in place of attention",
        ("tokens",),
        tuple(option for option in DIAL if option.name != "heads"),
        facts={"family": "language", "reads": "tokens", "presets": {SMALL: {"depth": 2}}},
    ),
    Row(
        "delta-lm",
        "nets.rnn:DeltaLM",
        "the same by a linear recurrence, a product of reflections",
        ("tokens",),
        (*DIAL, Option("reflections", "Householder matrices of a step", "whole", default=2, low=1, high=8)),
        facts={"family": "language", "reads": "tokens", "presets": {SMALL: {"depth": 2}}},
    ),
    Row(
        "dense-lm",
        "nets.dense:DenseLM",
        "text, K tokens as one vector at a time",
        ("tokens",),
        (*DIAL, Option("components", "Gaussians of the mixture of latents", "whole", default=16, low=1)),
        facts={"family": "language", "reads": "vectors", "presets": {SMALL: {"depth": 2}}},
    ),
    Row(
        "token-ae",
        "nets.token_ae:TokenAutoencoder",
        "K tokens as one vector, and back",
        ("tokens",),
        (
            Option("chunk", "tokens of a vector", "whole", default=4, low=1),
            Option("latent", "dimensions of a vector", "whole", default=128, low=1),
            _with(WIDTH, 256),
            Option("depth", "blocks on each side and per stage", "whole", default=1, low=1),
            Option("token_dropout", "share of the tokens hidden in training", "number", default=0.15),
            Option("latent_dropout", "share of the dimensions hidden in training", "number", default=0.15),
            Option("kl", "weight of the divergence", "number", default=1e-3),
            Option("clamp", "nats a dimension that are free of it", "number", default=0.5),
        ),
        facts={"family": "autoencoder", "presets": {SMALL: {"width": 128, "latent": 64}}},
    ),
    Row(
        "conv-classifier",
        "nets.classifier:ConvClassifier",
        "the class of images and spectra of any size",
        ("image", "spectrum"),
        (
            Option(
                "widths", "features of the stages, each of which but the first halves both sides", default=(48, 96, 192)
            ),
            Option("blocks", "residual units a stage", "whole", default=2, low=1),
        ),
        facts={"family": "classify", "presets": {SMALL: {"widths": (24, 48, 96), "blocks": 1}}},
    ),
    Row(
        "mlp-classifier",
        "nets.classifier:MLPClassifier",
        "the class of vectors; depth 0: by a linear map",
        VALUES,
        ALL,
        facts={"family": "classify", "presets": {SMALL: {"width": 128}}},
    ),
    Row(
        "adapter",
        "nets.adapter:Adapter",
        "vectors of one space as those of another, and back: a matrix and a residual each way",
        ("embedding",),
        (
            _with(WIDTH, 512),
            Option("depth", "hidden layers of the residual; 0: a matrix alone", "whole", default=1, low=0),
        ),
        facts={"family": "translate"},
    ),
    Row(
        "latent",
        "nets.latent:Latent",
        "the same through a latent space that both share, with vectors of either side that have no partners",
        ("embedding",),
        (
            _with(WIDTH, 256),
            Option(
                "depth", "hidden layers of the residual of each adapter; 0: matrices alone", "whole", default=1, low=0
            ),
            Option("latent", "numbers of the shared space", "whole", default=256, low=1),
            Option(
                "start",
                "what it begins as: the linear map that pairs and self-learning, or a search without pairs, make; none: drawn matrices",
                ("map", "none"),
                default="map",
            ),
            *(
                Option(name, f"weight of the loss of {what}", "number", default=weight, low=0)
                for name, what, weight in (
                    ("pairs", "pairs: squared errors each way, and of their latent vectors", 0.1),
                    ("reconstruct", "the way into the latent space and out on the same side", 1.0),
                    ("cycle", "the way to the other space and back", 1.0),
                    ("similar", "cosines among vectors of a batch, which a translation should keep", 10.0),
                    ("neighbours", "cosines to the nearest of the other side, by CSLS", 1.0),
                    (
                        "spread",
                        "translations that are spread unlike the other side, by sliced Wasserstein distances",
                        0.0,
                    ),
                )
            ),
        ),
        facts={"family": "translate"},
    ),
    presets={},
    stored={},
    reads="",
)
