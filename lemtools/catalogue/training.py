"""Options of lem-train: those of the recipes, in groups."""

from .encoders import ENCODERS
from .networks import NETWORKS, PADDING, PREDICTS
from .row import Option
from .shared import DEVICE, IMAGES, KIND, SKIP_BAD
from .tasks import PREFIX, TASKS

INPUT, OUTPUT, RUNNING = "Input", "Output", "Running"

DATA = Option(
    "--data",
    "Memories to learn from: files, folders; a lone npy or safetensors file stays on disk. Of a fragment, what "
    "it still holds is learnt. lm and token-ae learn text, as bytes, or tokens, lm tasks (task:parity), too, frames learns tokens; rvq learns embeddings.",
    metavar="PATH",
    multiple=True,
    file=True,
    section=INPUT,
)
TEXT = DATA._replace(help="Text to learn from, as bytes, or tokens: files, folders.")
STREAMS = TEXT._replace(
    help=f"{TEXT.help} Or a task whose state is known exactly: {', '.join(PREFIX + name for name in TASKS.shown)}."
)
VECTORS = DATA._replace(help="Embeddings to learn from: files, folders; a lone npy or safetensors file stays on disk.")
KEY = Option("--key", "Tensor or array to read from a foreign file.", metavar="NAME", section=INPUT)
LOOKS = tuple(option._replace(section=INPUT) for option in (KEY, KIND, *IMAGES))
VALIDATE = Option("--validate", "Memories to validate on.", metavar="PATH", multiple=True, file=True, section=INPUT)
HOLDOUT = Option(
    "--holdout",
    "How many items of the data are kept back to validate on; for lm and token-ae, windows at the end of the text.",
    "whole",
    low=0,
    metavar="N",
    usual="1 in 50, at most 256; for lm, token-ae and rvq 1 in 10",
    section=INPUT,
)
FRONTS = tuple(row for row in ENCODERS.rows if row.front)  # encoders that make spectra
SOUNDS = tuple(  # their options, each once; a preset of them is none of lem-train's
    option._replace(section=INPUT)
    for option in {option.name: option for row in FRONTS for option in row.options if option.name != "preset"}.values()
)
SPECTRA = (
    Option(
        "--encoder",
        "Learn the spectra of sounds, which this encoder makes ({of}; see lem-encode).",
        "choice",
        of=tuple(row.name for row in FRONTS),
        metavar="NAME",
        section=INPUT,
    ),
    *SOUNDS,
)
TARGET = Option(
    "--target",
    "What is to be recalled, item by item.",
    metavar="PATH",
    multiple=True,
    usual="the data themselves",
    file=True,
)
LOSSES = (
    Option(
        "--fragment",
        "What is lost, written as for lem-fragment: '--bits 1-6 --mask 0-.9'. Of several, every item draws one.",
        metavar="OPTIONS",
        multiple=True,
    ),
    TARGET,
    Option("--crop", "Learn from random windows of images.", "whole", low=8, metavar="PX"),
    Option(
        "--augment",
        "Show changed images, too: flip (left to right), dihedral (turned and flipped), shift[:SHARE], grey[:SHARE] or zoom[:A-B].",
        metavar="NAME[:A-B]",
        multiple=True,
        words=("flip", "dihedral", "shift", "grey", "zoom"),
    ),
)
LABELS = Option(
    "--labels",
    "Classes of the data: whole numbers or names in their order, or a COLUMN of a table that goes by their names.",
    metavar="FILE[:COLUMN]",
    file=True,
)
WEIGHTING = Option(
    "--weighting",
    "What the loss of an item is: its squared error divided by the variance that its fragment leaves (level), the "
    "logarithm of that ratio (log), or the squared error itself (plain).",
    ("level", "log", "plain"),
    default="level",
)
ORDER = Option("--order", "The order in which values are recalled.", ("any", "raster"), usual="any")
LEVELS = Option(
    "--levels",
    "Noise levels to learn, A-B in standard deviations, evenly in their logarithm.",
    "amount",
    low=0,
    open=("low",),
    metavar="A-B",
    usual="all, by the cosine schedule (thermalizer: .002-1)",
)
DENOISE = (
    LABELS,
    Option(
        "--padding",
        "What the convolutions see beyond the border. Two words are those of the rows (frequency) and of the columns "
        "(time).",
        PADDING.type,
        usual="zeros",
    ),
    LEVELS,
    Option("--predict", "What a denoising network predicts.", PREDICTS.type, usual="eps", param="predicts"),
)
ROWS = Option(
    "--rows",
    "How many rows stand side by side in a rollout: the successor of item i is item i + R.",
    "whole",
    low=1,
    metavar="R",
    usual="1",
    section=INPUT,
)
PLACES = Option(
    "--places",
    "Tokens of a frame, where an item is a whole sequence of frames, one after another.",
    "whole",
    low=1,
    metavar="P",
    usual="an item is a frame",
    section=INPUT,
)
ALIGNED = Option(
    "--aligned",
    "Where an aligner put the boundaries: what lem-encode --encoder phones --refine none makes of the sounds, by their names.",
    metavar="PATH",
    multiple=True,
    file=True,
    section=INPUT,
)
STEPS = (
    ROWS,
    Option(
        "--noise-injection",
        "Learn from states with Gaussian noise of S standard deviations; what follows them stays the true state.",
        "number",
        low=0,
        high=100,
        metavar="S",
    ),
    Option(
        "--pushforward",
        "Learn half from true states, half from where K - 1 steps of the network itself lead.",
        "whole",
        low=1,
        high=1000,
        metavar="K",
    ),
    Option(
        "--own-rollouts",
        "Learn all of K steps that the network makes from a true state, each from where its last one led.",
        "whole",
        low=1,
        high=1000,
        metavar="K",
    ),
)
DRIFT = Option(
    "--drift",
    "What the emulator claimed after each state of --data, item by item.",
    metavar="PATH",
    multiple=True,
    file=True,
    section=INPUT,
)
NETWORK = (
    Option("--arch", "The network: {of}.", of=NETWORKS, metavar="NET", usual="by recipe and kind"),
    Option("--width", "Features a layer; conv and unet have several: --set widths=[...].", "whole", low=1, metavar="N"),
    Option(
        "--depth",
        "Layers or blocks; conv has several: --set blocks=[...]. For lm, width, heads, context and learning rate follow "
        "from it.",
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
TEACHER = Option(
    "--teacher",
    "A trained classifier of the same memories, which is shown them whole: what it answers is learnt, too, from what the fragment shows. Of several, the mean of their probabilities.",
    metavar="MODEL",
    multiple=True,
    file=True,
)
SET = Option(
    "--set",
    "Set another property of the network (for rvq, of the codes).",
    metavar="NAME=VALUE",
    multiple=True,
    param="options",
)
LENGTH = (
    Option("--steps", "Updates.", "whole", low=1, metavar="N", usual="10000, for rvq 1000"),
    Option("--flops", "Make as many updates as F floating-point operations allow.", "number", low=1, metavar="F"),
    Option("--batch", "Items per update, over all processes.", "whole", low=1, metavar="N", usual="by recipe"),
)
OPTIMISER = (
    Option("--lr", "Highest learning rate.", "number", low=0, high=1e30, open=("low",), metavar="R", usual="by recipe"),
    Option(
        "--decay",
        "How the learning rate falls: cosine, constant, or exponential:R, by the factor R an update.",
        default="cosine",
        metavar="HOW",
        words=("cosine", "constant", "exponential:"),
    ),
    Option("--warmup", "Updates of linear warm-up.", "whole", low=0, metavar="N", usual="5 %, at most 500"),
    Option("--weight-decay", "Weight decay of AdamW.", "number", low=0, default=0.0, metavar="W"),
    Option(
        "--beta2",
        "Decay of AdamW's running average of squared gradients.",
        "number",
        low=0,
        high=0.99999,
        default=0.99,
        metavar="B",
    ),
    Option(
        "--clip",
        "Largest norm of the gradient, which is scaled down to it; 0: no limit.",
        "number",
        low=0,
        default=1.0,
        metavar="G",
    ),
    Option(
        "--dtype",
        "Precision of matrix products and convolutions; auto is bfloat16 on CUDA, else float32.",
        ("auto", "float32", "bfloat16"),
        default="auto",
    ),
    Option("--weights", "Type of the weights in the model's file.", ("float32", "float16"), default="float32"),
    Option("--compile", "Compile the network (torch.compile).", "flag"),
)
EMA = Option(
    "--ema",
    "Decay of the running average of the weights, at each update; the averaged weights are saved. For rvq, of the "
    "running average of the vectors that a code stands for, which is the code.",
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
        "--keep-every",
        "Keep the model as it stands every N updates, from the first on, as MODEL.step-0000000.safetensors and so on.",
        "whole",
        low=1,
        metavar="N",
        usual="none is kept",
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
    DEVICE._replace(section=RUNNING),
    Option(
        "--seed", "Seed of all random draws.", "whole", low=0, default=0, env="LEM_SEED", metavar="N", section=RUNNING
    ),
)
PRESET = Option(
    "--preset",
    "Settings chosen together for a purpose; an option that you give comes first. quick: something useful in five "
    "minutes on a CPU.",
    ("quick",),
)
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
