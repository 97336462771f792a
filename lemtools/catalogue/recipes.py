"""Recipes of lem-train.

A recipe is a function, from the settings of a run (train.settings.Settings) to all that it needs before its first step
(train.run.Prepared). Its options are fields of Settings or else properties of what learns. Its facts:

    arch       the network of each kind of memory; its kinds are those of the recipe
    family     of the networks that it trains; '' where none is trained
    lr, batch, steps, ema   what Settings has where none is given
    holdout    the same, in words
    deep       the depth at which lr holds: it falls with the root of the depth; None: it does not
    properties of what learns without a network, besides its options
    presets    {name: {field of Settings: value}}: used where nothing else is said; of steps and flops the shorter way; arch
               as above. Networks have presets of their own.
"""

from collections.abc import Mapping
from typing import Any

from .encoders import RESIDUAL
from .networks import NETWORKS, PADDING, PREDICTS, SMALL
from .row import Option, Row
from .shared import IMAGES, KIND, SKIP_BAD
from .table import Table

INPUT, OUTPUT, RUNNING = "Input", "Output", "Running"

DATA = Option(
    "--data",
    "Memories to learn from: files, folders; a lone npy or safetensors file is mapped, not read. Fragments are "
    "learnt from by what they hold. lm and token-ae learn text, as bytes, or tokens, rvq embeddings.",
    metavar="PATH",
    multiple=True,
    file=True,
    section=INPUT,
)
TEXT = DATA._replace(help="Text to learn from, as bytes, or tokens: files, folders.")
VECTORS = DATA._replace(help="Embeddings to learn from: files, folders; a lone npy or safetensors file is mapped.")
KEY = Option("--key", "Tensor or array to read from a foreign file.", metavar="NAME", section=INPUT)
LOOKS = tuple(option._replace(section=INPUT) for option in (KEY, KIND, *IMAGES))
VALIDATE = Option("--validate", "Memories to validate on.", metavar="PATH", multiple=True, file=True, section=INPUT)
HOLDOUT = Option(
    "--holdout",
    "Items of the data kept back to validate on; of text, windows at its end.",
    "whole",
    low=0,
    metavar="N",
    usual="1 in 50, at most 256, of text and for rvq 1 in 10",
    section=INPUT,
)
LOSSES = (
    Option(
        "--fragment",
        "What is lost, written as for lem-fragment: '--bits 1-6 --mask 0-.9'. Of several, every item draws one.",
        metavar="OPTIONS",
        multiple=True,
    ),
    Option(
        "--target",
        "What is to be recalled, item by item.",
        metavar="PATH",
        multiple=True,
        usual="the data themselves",
        file=True,
    ),
    Option("--crop", "Learn from random windows of images.", "whole", low=8, metavar="PX"),
    Option(
        "--augment",
        "flip, dihedral, grey[:SHARE] or zoom[:A-B]: show images otherwise, too.",
        metavar="NAME[:A-B]",
        multiple=True,
        words=("flip", "dihedral", "grey", "zoom"),
    ),
)
LABELS = Option("--labels", "Classes of the data, an array of whole numbers.", metavar="FILE", file=True)
WEIGHTING = Option(
    "--weighting",
    "Divide an item's squared error by the variance that its fragment leaves (level), take the logarithm of that "
    "(log), or neither (plain).",
    ("level", "log", "plain"),
    default="level",
)
ORDER = Option("--order", "In which order values are recalled.", ("any", "raster"), usual="any")
DENOISE = (
    LABELS,
    Option("--padding", "What lies beyond the border.", PADDING.type, usual="zeros"),
    Option("--predict", "What a denoising network answers.", PREDICTS.type, usual="eps", param="predicts"),
)
ON = Option(
    "--on", "What is predicted: the next token, or the next vector of K tokens.", ("tokens", "dense"), usual="tokens"
)
CODEC = Option(
    "--codec",
    "Encodings of text that were fitted before, by which it is learnt.",
    metavar="FILE",
    multiple=True,
    file=True,
)
CONTEXT = Option("--context", "Tokens that are seen.", "whole", low=1, metavar="N", usual="64 a layer")
CHUNK = Option("--chunk", "Tokens in a vector.", "whole", low=1, metavar="K", usual="4")
NETWORK = (
    Option("--arch", "The network: {of}.", of=NETWORKS, metavar="NET", usual="by recipe and kind"),
    Option("--width", "Features a layer; of conv and unet: --set widths=[...].", "whole", low=1, metavar="N"),
    Option(
        "--depth",
        "Layers or blocks; of conv: --set blocks=[...]. Of lm the one dial: width, heads, context and rate follow.",
        "whole",
        low=1,
        metavar="N",
    ),
)
INIT = Option(
    "--init",
    "Begin with the weights of a trained model of the same network, and learn on.",
    metavar="MODEL",
    file=True,
)
SET = Option("--set", "Any other property of what learns.", metavar="NAME=VALUE", multiple=True, param="options")
LENGTH = (
    Option("--steps", "Updates.", "whole", low=1, metavar="N", usual="10000, for rvq 1000"),
    Option("--flops", "As many updates as F floating-point operations allow.", "number", low=1, metavar="F"),
    Option("--batch", "Items an update, of all processes together.", "whole", low=1, metavar="N", usual="by recipe"),
)
OPTIMISER = (
    Option("--lr", "Highest learning rate.", "number", low=0, high=1e30, open=("low",), metavar="R", usual="by recipe"),
    Option(
        "--decay",
        "Of the learning rate: cosine, constant or exponential:R, R a step.",
        default="cosine",
        metavar="HOW",
        words=("cosine", "constant", "exponential:"),
    ),
    Option("--warmup", "Updates of linear warm-up.", "whole", low=0, metavar="N", usual="5 %, at most 500"),
    Option("--weight-decay", "Of AdamW.", "number", low=0, default=0.0, metavar="W"),
    Option("--beta2", "Of AdamW.", "number", low=0, high=0.99999, default=0.99, metavar="B"),
    Option("--clip", "Greatest norm of a gradient; 0: any.", "number", low=0, default=1.0, metavar="G"),
    Option(
        "--dtype",
        "Of products and convolutions; auto is bfloat16 on CUDA.",
        ("auto", "float32", "bfloat16"),
        default="auto",
    ),
    Option("--weights", "Type of the weights in the model's file.", ("float32", "float16"), default="float32"),
    Option("--compile", "Compile the network (torch.compile).", "flag"),
)
EMA = Option(
    "--ema",
    "Decay of the average of the weights, which is what is kept; of rvq, of the sums whose means the codes are.",
    "number",
    low=0,
    high=0.999999,
    metavar="D",
    usual=".999, for rvq .99",
)
OUT = (
    Option(
        "--save-every",
        "Updates between checkpoints.",
        "whole",
        low=1,
        default=1000,
        metavar="N",
        section=OUTPUT,
    ),
    Option(
        "--log-file",
        "Write a record every 50 updates and at checkpoints, JSON Lines.",
        metavar="FILE",
        param="log",
        file=True,
        section=OUTPUT,
    ),
    Option(
        "--card", "A line of the model card, kept with the model.", metavar="NAME=TEXT", multiple=True, section=OUTPUT
    ),
)
PICTURES = Option(
    "--pictures",
    "At every checkpoint, a PNG of what is recalled of items kept back.",
    metavar="DIR",
    file=True,
    section=OUTPUT,
)
RUN = (
    Option(
        "--workers",
        "Processes that make batches.",
        "whole",
        low=0,
        metavar="N",
        usual="by the machine",
        section=RUNNING,
    ),
    Option(
        "--device",
        "auto, cpu, cuda or mps.",
        default="auto",
        env="LEM_DEVICE",
        metavar="NAME",
        words=("auto", "cpu", "cuda", "mps"),
        section=RUNNING,
    ),
    Option(
        "--seed", "Seed of all random draws.", "whole", low=0, default=0, env="LEM_SEED", metavar="N", section=RUNNING
    ),
)
PRESET = Option(
    "--preset",
    "What suits a purpose, where you say nothing else; quick: something useful in five minutes on a CPU.",
    ("quick",),
)
LOST = {  # of a fragment, as text and as it is parsed
    "fragment": ["--bits 1-6 --mask 0-.9"],
    "operations": [[{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": (0.0, 0.9)}]],
}
EVERY = (
    PRESET,
    DATA,
    KIND._replace(section=INPUT),
    SKIP_BAD._replace(section=INPUT),
    VALIDATE,
    HOLDOUT,
    *LENGTH,
    SET,
    EMA,
    *OUT,
    *RUN,
)  # what all recipes take
LEARNER = (*NETWORK, INIT, *OPTIMISER)


def recipe(name: str, target: str, help: str, arch: Mapping[str, str], *own: Option, **facts: Any) -> Row:
    """A row; arch names the network of each kind."""
    taken = {option.name for option in own}
    options = (*own, *(option for option in EVERY if option.name not in taken))
    return Row(name, f"train.recipes.{target}", help, tuple(arch), options, facts={"arch": arch, **facts})


RECIPES = Table(
    "recipe",
    recipe(
        "feedforward",
        "values:estimate",
        "the whole from a fragment, in one step",
        {"image": "conv", "spectrum": "flat", "embedding": "mlp"},
        *(DATA, *LOOKS, *LOSSES, WEIGHTING, *LEARNER, PICTURES),
        family="estimate",
        presets={SMALL: LOST | {"flops": 6e12, "steps": 20_000, "batch": 16, "lr": 2e-3, "ema": 0.99}},
    ),
    recipe(
        "recurrent",
        "values:estimate",
        "the same by one block, iterated",
        {"image": "gru", "spectrum": "gru", "embedding": "gru"},
        *(DATA, *LOOKS, *LOSSES, WEIGHTING, *LEARNER, PICTURES),
        family="estimate",
        presets={SMALL: LOST | {"flops": 5e12, "steps": 20_000, "batch": 16, "lr": 2e-3, "ema": 0.99}},
    ),
    recipe(
        "autoregressive",
        "values:sequence",
        "element by element, each by its probability",
        {"image": "transformer", "embedding": "transformer"},
        *(DATA, *LOOKS, *LOSSES, ORDER, *LEARNER, PICTURES),
        family="sequence",
        presets={SMALL: LOST | {"flops": 4e12, "steps": 20_000, "batch": 16, "lr": 3e-3, "ema": 0.99}},
    ),
    recipe(
        "diffusion",
        "values:denoise",
        "from noise, with or without a fragment",
        {"image": "resnet", "spectrum": "resnet", "embedding": "mlp-denoiser"},
        *(DATA, *LOOKS, *LOSSES, *DENOISE, *LEARNER, PICTURES),
        family="denoise",
        lr=3e-4,
        batch=128,
        presets={
            SMALL: {
                "arch": {"image": "unet", "spectrum": "unet", "embedding": "mlp-denoiser"},
                "flops": 6e12,
                "steps": 20_000,
                "batch": 32,
                "lr": 1e-3,
                "ema": 0.99,
            }
        },
    ),
    recipe(
        "lm",
        "text:language",
        "text, token by token or by vectors of tokens",
        {"tokens": "lm"},
        *(TEXT, ON, CODEC, CONTEXT, *LEARNER),
        family="language",
        lr=2e-3,
        batch=32,
        holdout="1 in 10, at most 1024 windows",
        deep=4,
        presets={SMALL: {"flops": 6e12, "steps": 20_000, "batch": 16, "ema": 0.99}},
    ),
    recipe(
        "token-ae",
        "text:autoencoder",
        "K tokens of text as one vector, and back",
        {"tokens": "token-ae"},
        *(TEXT, CODEC, CHUNK, *LEARNER),
        family="autoencoder",
        batch=32,
        holdout="1 in 10, at most 1024 windows",
        presets={SMALL: {"flops": 6e12, "steps": 20_000, "batch": 16, "ema": 0.99}},
    ),
    recipe(
        "rvq",
        "rvq:codebooks",
        "embeddings as codes, for lem-encode",
        {"embedding": ""},
        *(VECTORS, KEY, *RESIDUAL),
        lr=None,
        batch=4096,
        steps=1000,
        ema=0.99,
        holdout="1 in 10, at most 4096 vectors, or 16 a code",
        properties=(Option("gains", "levels of the length, with --gain-shape", "whole", default=16),),
        presets={SMALL: {"options": {"codes": 256}, "steps": 200}},
    ),
    family="",
    lr=1e-3,
    batch=64,
    steps=10_000,
    ema=0.999,
    holdout="1 in 50, at most 256",
    deep=None,
    properties=(),
    presets={},
)
