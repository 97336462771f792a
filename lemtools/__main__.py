"""python -m lemtools: the commands, a line each."""

from . import __version__

COMMANDS = {
    "lem-fragment": "break memories: fewer bits, lost pixels, lost time, lost dimensions",
    "lem-reconstruct": "recall the whole from the fragment",
    "lem-compare": "measure how much came back",
    "lem-encode": "turn memories into embeddings or tokens, and back",
    "lem-train": "train a network to recall, or codebooks",
    "lem-els": "dream by formula: analytic diffusion models over a bank of images",
    "lem-info": "say what a stream or a model holds",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print(f"lemtools {__version__}: Unix tools for fragmented memories\n")
    print("\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items()))
    print("\nEach has --help and a man page. In Python: import lemtools, see docs/python.md.")


if __name__ == "__main__":
    main()
