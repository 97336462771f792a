"""Options that things of several tables take."""

from .row import Option

DEVICE = Option(
    "--device",
    "Where it is computed: auto, cpu, cuda or mps.",
    default="auto",
    env="LEM_DEVICE",
    metavar="NAME",
    words=("auto", "cpu", "cuda", "mps"),
)

# how inputs are read, as fields of media.Reading; grey and rgb are its colour
KIND = Option(
    "--kind",
    "What the inputs are, whatever they look like; lab: labels with times, as HTK writes them.",
    ("image", "audio", "spectrum", "field", "embedding", "tokens", "text", "lab"),
    usual="by their bytes",
)
IMAGES = (
    Option(
        "--resize",
        "Resize images, bilinearly, to PX x PX or WIDTHxHEIGHT; of another aspect they are cut to it, in the middle.",
        "size",
        metavar="WxH",
    ),
    Option("--grey", "Take the luma of colour images.", "flag"),
    Option("--rgb", "Give grey images three equal channels.", "flag"),
    Option("--background", "The colour that transparent pixels are laid on.", default="white", metavar="COLOUR"),
)
SKIP_BAD = Option(
    "--skip-bad", "Leave out what cannot be read, and what is of a kind that is not taken, with a note.", "flag"
)

# which tokens are drawn among, see nets.draw.likely
TOP = Option("--top", "Draw among the K likeliest tokens only.", "whole", low=1, metavar="K", usual="all")
TOP_P = Option(
    "--top-p",
    "Draw among the likeliest tokens only, as few as have a share P of the probability (nucleus sampling).",
    "number",
    low=0,
    high=1,
    open=("low",),
    metavar="P",
    usual="1",
)
TYPICAL = Option(
    "--typical",
    "Draw among the tokens only whose surprise is nearest the mean, as few as have a share P of the probability (locally "
    "typical sampling).",
    "number",
    low=0,
    high=1,
    open=("low",),
    metavar="P",
    usual="1",
)
AMONG = (TOP, TOP_P, TYPICAL)
