"""Recipes of lem-train.

A recipe is a function, from the settings of a run (train.settings.Settings) to all that it needs before its first step
(train.run.Prepared). Its options are fields of Settings or else properties of what learns. Its facts:

    arch       the network of each kind of memory; its kinds are those of the recipe
    family     of the networks that it trains; '' where none is trained
    lr, batch, steps, ema   what Settings has where none is given
    holdout    the same, in words
    deep       the depth at which lr holds: it falls with the root of the depth; None: it does not
    properties of what learns without a network, besides its options
    said       {keyword of an option: {field of Option: value}}: what --help says otherwise for this recipe
    precise    auto is float32 on any device: what is learnt has errors that half precision would drown
    presets    {name: {field of Settings: value}}: used where nothing else is said; of steps and flops the shorter way; arch
               as above. Networks have presets of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .encoding import RESIDUAL
from .language import ARMS, ASKING, CHUNK, CODEC, CONTEXT, GATES, ON, RUNS
from .networks import NETWORKS, SMALL
from .row import Option, Row
from .shared import KIND
from .table import Table
from .training import (
    ALIGNED,
    DATA,
    DENOISE,
    DRIFT,
    EVERY,
    KEY,
    LABELS,
    LEARNER,
    LEVELS,
    LOOKS,
    LOSSES,
    ORDER,
    PICTURES,
    PLACES,
    ROWS,
    SPECTRA,
    STEPS,
    STREAMS,
    TARGET,
    TEACHER,
    TEXT,
    VECTORS,
    WEIGHTING,
)
from .translating import LEARNT

LOST = {  # of a fragment, as text and as it is parsed
    "fragment": ["--bits 1-6 --mask 0-.9"],
    "operations": [[{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": (0.0, 0.9)}]],
}


def recipe(
    name: str,
    target: str,
    help: str,
    arch: Mapping[str, str],
    *own: Option,
    without: tuple[str, ...] = (),
    **facts: Any,
) -> Row:
    """A row; arch names the network of each kind. without: options of EVERY that it does not take."""
    taken = {*without, *(option.name for option in own)}
    options = (*own, *(option for option in EVERY if option.name not in taken))
    facts["said"] = _said(name, tuple(arch), facts.get("family", "")) | facts.get("said", {})
    return Row(name, f"train.recipes.{target}", help, tuple(arch), options, facts={"arch": arch, **facts})


class Family:
    """The networks of a family as a set of words for options, which follows the table."""

    def __init__(self, family: str):
        self.family = family

    def __iter__(self) -> Iterator[str]:
        return iter([row.name for row in NETWORKS.rows if row.family == self.family])


def _said(name: str, kinds: tuple[str, ...], family: str) -> dict[str, dict[str, Any]]:
    """What --help says of options for this recipe alone, where the general text names other recipes."""
    words = [word for word in KIND.type if word in kinds or (word == "text" and "tokens" in kinds)]
    said: dict[str, dict[str, Any]] = {
        "kind": {"type": tuple(words)},
        "arch": {"of": Family(family)},
        "holdout": {"help": "How many items of the data are kept back to validate on."},
        "ema": {"help": "Decay of the running average of the weights, at each update; the averaged weights are saved."},
        "depth": {"help": "Layers or blocks."},
        "width": {"help": "Features a layer."},
        "options": {"help": "Set another property of the network."},
        "data": {
            "help": "Memories to learn from: files, folders; a lone npy or safetensors file stays on disk. Of a "
            "fragment, what it still holds is learnt."
        },
    }
    if "tokens" in kinds:
        said |= {
            "data": {},
            "holdout": {"help": "How many windows, at the end of the text, are kept back to validate on."},
        }
    if family in ("estimate", "denoise"):
        several = {"estimate": "conv has", "denoise": "unet has"}[family]
        said["width"] = {"help": f"Features a layer; {several} several: --set widths=[...]."}
    if family == "estimate":
        said["depth"] = {"help": "Layers or blocks; conv has several: --set blocks=[...]."}
    return said


RECIPES = Table(
    "recipe",
    recipe(
        "feedforward",
        "values:estimate",
        "the whole from a fragment, in one step",
        {"image": "conv", "spectrum": "flat", "field": "flat", "embedding": "mlp"},
        *(DATA, *LOOKS, *SPECTRA, *LOSSES, WEIGHTING, *LEARNER, PICTURES),
        family="estimate",
        presets={SMALL: LOST | {"flops": 6e12, "steps": 20_000, "batch": 16, "lr": 2e-3, "ema": 0.99}},
    ),
    recipe(
        "recurrent",
        "values:estimate",
        "the same by one block, iterated",
        {"image": "gru", "spectrum": "gru", "field": "gru", "embedding": "gru"},
        *(DATA, *LOOKS, *SPECTRA, *LOSSES, WEIGHTING, *LEARNER, PICTURES),
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
        {"image": "resnet", "spectrum": "resnet", "field": "resnet", "embedding": "mlp-denoiser"},
        *(DATA, *LOOKS, *SPECTRA, *LOSSES, *DENOISE, *LEARNER, PICTURES),
        family="denoise",
        lr=3e-4,
        batch=128,
        presets={
            SMALL: {
                "arch": {"image": "unet", "spectrum": "unet", "field": "unet", "embedding": "mlp-denoiser"},
                "flops": 6e12,
                "steps": 20_000,
                "batch": 32,
                "lr": 1e-3,
                "ema": 0.99,
            }
        },
    ),
    recipe(
        "classifier",
        "classes:classifier",
        "which class a memory is of",
        {"image": "conv-classifier", "spectrum": "conv-classifier", "embedding": "mlp-classifier"},
        *(DATA, *LOOKS, *SPECTRA, *(loss for loss in LOSSES if loss.name != "target"), LABELS, TEACHER, *LEARNER),
        family="classify",
        said={
            "labels": {
                "help": "Classes of the data: whole numbers or names in their order, a COLUMN of a table that goes by their names, or the "
                "word folder: each item is of the class that its folder is called.",
            },
            "fragment": {
                "help": "What is lost of what is shown, written as for lem-fragment: '--bits 1-8'. Of several, every item draws one.",
            },
        },
        presets={SMALL: {"flops": 6e12, "steps": 5000, "batch": 32, "lr": 2e-3, "ema": 0.99}},
    ),
    recipe(
        "emulator",
        "emulator:emulator",
        "the next state of a simulation from the one before",
        {"field": "conv-step"},
        *(DATA, KEY, TARGET, *STEPS, *LEARNER),
        family="step",
        lr=2e-3,
        steps=5000,
        precise=True,
        said={
            "data": {
                "help": "States to learn from: a rollout, step by step, all rows of each step together; or, with --target, "
                "states in any order."
            },
            "target": {"help": "What became of the states of --data, item by item."},
            "validate": {"help": "A rollout of as many rows to validate on."},
            "holdout": {
                "help": "How many states are kept back to validate on: the last steps of all rows, or some more; of a "
                "short rollout whole rows."
            },
            "dtype": {"help": "Precision of matrix products and convolutions; auto is float32."},
        },
    ),
    recipe(
        "frames",
        "frames:frames",
        "the next frame of tokens from some before it, all its places at once",
        {"tokens": "frames"},
        *(DATA, KEY, ROWS, PLACES, CONTEXT, *LEARNER),
        family="frames",
        lr=2e-3,
        batch=32,
        steps=2000,
        said={
            "data": {
                "help": "Frames of tokens to learn from, [N, P] whole numbers: a rollout, step by step, all rows of each step "
                "together; or, with --places, whole sequences of frames."
            },
            "context": {"help": "Frames that are seen.", "usual": "2"},
            "validate": {"help": "Frames to validate on: a rollout of as many rows, or sequences."},
            "holdout": {
                "help": "How many frames are kept back to validate on: the last steps of all rows, or some more; of a "
                "short rollout whole rows."
            },
            "depth": {"help": "Blocks."},
        },
    ),
    recipe(
        "corrector",
        "emulator:corrector",
        "the next state from the one before and what an emulator claims",
        {"field": "conv-correct"},
        *(DATA, DRIFT, KEY, TARGET, ROWS, *LEARNER),
        without=("validate",),
        family="correct",
        lr=2e-3,
        steps=5000,
        precise=True,
        said={
            "data": {"help": "Previous states: those from which an emulator stepped, of one rollout or of several."},
            "target": {"help": "What a solver says comes after each state of --data, item by item."},
            "rows": {
                "help": "How many rows stand side by side in the rollouts: what is kept back is the last steps of all."
            },
            "holdout": {
                "help": "How many states are kept back to validate on: the last steps of all rows, or some more."
            },
            "dtype": {"help": "Precision of matrix products and convolutions; auto is float32."},
        },
    ),
    recipe(
        "thermalizer",
        "thermalizer:thermalizer",
        "how much noise is in a state of a simulation",
        {"field": "conv-level", "embedding": "mlp-level"},
        *(DATA, KEY, ROWS, LEVELS, *LEARNER),
        family="level",
        lr=2e-3,
        steps=5000,
        precise=True,
        holdout="1 in 10",
        said={
            "data": {
                "help": "States to learn from, without noise: a rollout, step by step, all rows of each step together; numbers "
                "in an array are states where --kind does not say embedding."
            },
            "rows": {"help": "How many rows stand side by side in a rollout: item t R + r is row r at step t."},
            "levels": {
                "help": "Noise levels to learn, A-B in standard deviations, evenly in their logarithm; a tenth of the states "
                "is shown without noise.",
                "usual": "all, by the cosine schedule (thermalizer: .002-1)",
            },
            "validate": {"help": "States to validate on, and to measure the calibration on."},
            "holdout": {
                "help": "How many states are kept back to validate on, and to measure the calibration on: the last steps "
                "of all rows; of a short rollout whole rows."
            },
            "dtype": {"help": "Precision of matrix products and convolutions; auto is float32."},
        },
    ),
    recipe(
        "phones",
        "phones:phones",
        "where phones begin, finer than an aligner says, for lem-encode --refine",
        {"audio": "conv-boundary"},
        *(DATA, ALIGNED, KEY._replace(help="Tier of the labels that holds the phones."), *LEARNER),
        without=("kind",),
        family="boundary",
        lr=2e-3,
        batch=128,
        steps=1000,
        ema=0.99,
        holdout="1 in 10",
        precise=True,
        said={
            "data": {"help": "Sounds with labels beside them, each in a TextGrid or .lab of the same name."},
            "validate": {"help": "Sounds with labels to validate on, of other speakers, say."},
            "holdout": {"help": "How many sounds are kept back to validate on."},
            "depth": {"help": "Blocks."},
            "dtype": {"help": "Precision of matrix products and convolutions; auto is float32."},
        },
    ),
    recipe(
        "lm",
        "text:language",
        "text, token by token or by vectors of tokens",
        {"tokens": "lm"},
        *(STREAMS, ON, CODEC, CONTEXT, *ARMS, *ASKING, GATES, RUNS, *LEARNER),
        family="language",
        lr=2e-3,
        batch=32,
        holdout="1 in 10, at most 1024 windows",
        deep=4,
        said={
            "context": {"help": "Tokens that are seen.", "usual": "64 a layer"},
            "depth": {"help": "Blocks; width, heads, context and learning rate follow from it."},
        },
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
        "translate",
        "translation:translation",
        "one model's embeddings as another's, for lem-encode",
        {"embedding": "adapter"},
        *(VECTORS, KEY, *LEARNT, *LEARNER),
        family="translate",
        lr=1e-3,
        batch=256,
        steps=1000,
        ema=0.99,
        holdout="1 in 10, at most 4096 pairs or sequences",
        precise=True,
        said={
            "holdout": {
                "help": "How many pairs, of --unpaired vectors, or of a --reader sequences, are kept back to validate on."
            },
            "arch": {"of": Family("translate"), "usual": "adapter; with vectors that have no partners latent"},
            "depth": {"help": "Hidden layers of the residual, each way; none with --set depth=0."},
            "width": {"help": "Features of a hidden layer."},
            "dtype": {"help": "Precision of matrix products; auto is float32."},
        },
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
        said={
            "data": {},
            "options": {"help": "Set another property of the codes."},
            "codes": {"default": None, "usual": "256, of the recipe rvq 1024"},
            "ema": {
                "help": "Decay, at each update, of the running average of the vectors that a code stands for; that "
                "average is the code."
            },
        },
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
    precise=False,
    properties=(),
    said={},
    presets={},
)
