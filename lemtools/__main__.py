"""python -m lemtools: the commands, a line each."""

import sys

from . import __version__

COMMANDS = {
    "lem-fragment": "break memories: fewer bits, lost pixels, lost time, lost dimensions",
    "lem-reconstruct": "recall the whole from the fragment",
    "lem-compare": "measure how much came back",
    "lem-encode": "turn memories into embeddings, tokens or spectra, and back",
    "lem-train": "train a network to recall, or codebooks",
    "lem-els": "dream by formula: analytic diffusion models over a bank of images",
    "lem-thermalize": "keep a rollout on the manifold, with any emulator",
    "lem-info": "say what a stream or a model holds",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    try:
        with open(1, "w", closefd=False) as out:
            out.write(f"lemtools {__version__}: Unix tools for fragmented memories\n\n")
            out.writelines(f"  {name:{width}}  {what}\n" for name, what in COMMANDS.items())
            out.write("\nEach has --help and a man page. In Python: import lemtools, see docs/python.md.\n")
    except OSError as error:
        print(f"lemtools: error: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
