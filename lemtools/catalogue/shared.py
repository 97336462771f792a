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
