"""What lem-fragment takes away: operations, shapes of a mask, quantisers.

An operation is a function (signal, spec, draws) -> (signal, what was done); spec holds its options by keyword. Its
first option starts it on the command line, the others belong to the latest one before them. Its fact `leaves` says what
the values of its fragments are: 'elements', the memory's own where they are observed; 'window', the same of a part of
it, at the `place` on record; 'noisy', the same with noise of the `sigma` or `std` on record; or 'other', which nothing
undoes and no element of the memory is known by. Its fact `masked` names the kinds of which it is put on record as a mask.

A shape is a function (extent, fraction, rng, size) -> bool array of `extent`, True where observed. Its facts: size,
'needs', 'may' or '', whether it is given one, as in span:8; along, the axis that this counts the elements of, 'last' or
'first', or 'all', then it is a list of one for each axis.

A quantiser of single values is a function (bits, domain) -> its 2**bits levels, ascending, in units of the domain. Its
facts: least and most bits; block, how many values share a scale where the user does not say it; shifted, 0 has a code of
its own in each block (codes.blockwise); fitted, the domains in which its levels are fitted to each item instead and travel with
it; domains, those that it has levels for; edges, the function (bits, domain) -> the 2**bits + 1 ends of its bins, where
these do not lie half way between levels. One with the fact `joint` codes whole vectors, as N(0, I): a module with encode(x, bits, search), decode(codes,
bits) and distortion(bits).
"""

from .row import Option, Row
from .table import Table

REAL = ("image", "audio", "spectrum", "field", "embedding")

QUANTISERS = Table(
    "quantiser",
    Row("uniform", "codes.scalar:uniform", "equal bins; of 8-bit images the top bits"),
    Row(
        "lloyd-max",
        "codes.scalar:lloyd_max",
        "least squares: fitted to each image or sound, fixed for the Gaussian of embeddings, spectra and fields",
        facts={"fitted": ("uint8", "unit", "signed")},
    ),
    Row(
        "trellis",
        "codes.trellis",
        "whole embeddings along a trellis, near the limit of rate and distortion",
        kinds=("embedding",),
        facts={"most": 6, "joint": True},
    ),
    Row(
        "mu-law",
        "codes.companding:mu_law",
        "bins that widen with the amplitude, equal in its logarithm, as in telephony (G.711): sound",
        kinds=("audio",),
        facts={
            "domains": ("signed",),
            "edges": "codes.companding:mu_law_edges",
            "refusal": "--quantizer mu-law is for sound, not {kind}",
        },
    ),
    Row(
        "absmax",
        "codes.blockwise:absmax",
        "equal bins, symmetric about 0, to the greatest magnitude of each block: embeddings and weights",
        kinds=("embedding",),
        facts={"least": 2, "domains": ("signed",), "block": 64},
    ),
    Row(
        "zero-point",
        "codes.blockwise:zero_point",
        "equal bins from the least to the greatest value of each block, one of them 0: embeddings and weights",
        kinds=("embedding",),
        facts={"most": 8, "domains": ("unit",), "block": 64, "shifted": True},
    ),
    Row(
        "nf4",
        "codes.blockwise:nf4",
        "16 quantiles of a Gaussian, to the greatest magnitude of each block (QLoRA), at 4 bits: embeddings and weights",
        kinds=("embedding",),
        facts={"least": 4, "most": 4, "domains": ("signed",), "block": 64},
    ),
    least=1,
    most=16,
    block=None,
    shifted=False,
    fitted=(),
    domains=("uint8", "unit", "signed", "gaussian"),
    edges=None,
    joint=False,
)

SHAPES = Table(
    "mask shape",
    Row("pixel", "fragment.masks:pixel", "single elements, at random"),
    Row(
        "patch",
        "fragment.masks:patch",
        "squares of side S, or rectangles, at random",
        shown="patch:S",
        facts={"size": "needs", "along": "all"},
    ),
    Row("block", "fragment.masks:block", "one box with the item's proportions, at a random place"),
    Row("rows", "fragment.masks:rows", "whole rows, at random"),
    Row("half", "fragment.masks:half", "the last part: the lower rows of an image, the end of a sound"),
    Row(
        "span",
        "fragment.masks:span",
        "runs of S along time that stay apart",
        kinds=("audio", "spectrum", "field", "tokens", "embedding"),
        shown="span[:S]",
        facts={"size": "may"},
    ),
    Row(
        "band",
        "fragment.masks:band",
        "runs of S rows of a spectrum that stay apart",
        kinds=("spectrum",),
        shown="band[:S]",
        facts={"size": "may", "along": "first"},
    ),
    Row("dims", "fragment.masks:dims", "dimensions, at random, the same at every position", kinds=("embedding",)),
    size="",
    along="last",
)

OPERATIONS = Table(
    "operation",
    Row(
        "bits",
        "fragment.quantise:bits",
        "fewer bits a value",
        kinds=REAL,
        facts={
            "leaves": "elements",
            "refusal": "--bits does not suit {kind}: an index has no nearby values; use --mask",
        },
        options=(
            Option(
                "--bits",
                "Keep B bits a value, 1-16: the top bits of images and sound; embeddings, fields and spectra are quantised by their rms.",
                "whole-amount",
                low=1,
                high=16,
                metavar="B",
                multiple=True,
            ),
            Option(
                "--quantizer",
                "How the preceding --bits places its levels; mu-law is for sound, trellis codes whole embeddings, at 1-6 bits, absmax, zero-point and nf4 scale embeddings by blocks.",
                "choice",
                of=QUANTISERS,
                usual="uniform",
                multiple=True,
            ),
            Option(
                "--rotate",
                "Rotate embeddings at random before the preceding --bits quantises them; --seed fixes the rotation.",
                "flag",
            ),
            Option(
                "--block",
                "Values of an embedding that share a scale in the preceding --bits; each scale counts 16 bits.",
                "whole",
                low=1,
                metavar="N",
                usual="64 of absmax, zero-point and nf4, else all",
                multiple=True,
            ),
            Option(
                "--scale",
                "The range that the preceding --bits covers: full scale, the item's peak, or its rms as a Gaussian.",
                ("full", "peak", "rms"),
                multiple=True,
            ),
        ),
    ),
    Row(
        "mask",
        "fragment.masks:mask",
        "lost elements",
        facts={"leaves": "elements"},
        options=(
            Option(
                "--mask", "Lose the fraction P of the elements.", "amount", low=0, high=1, metavar="P", multiple=True
            ),
            Option(
                "--mask-shape",
                "Which elements the preceding --mask loses: {of}. S counts elements, or is 20ms or 500hz; of a patch also "
                "two sides: WxH, of a spectrum FxT (rows x frames).",
                of=SHAPES,
                usual="pixel",
                metavar="SHAPE",
                multiple=True,
                param="shape",
            ),
        ),
    ),
    Row(
        "keep-dims",
        "fragment.drops:keep_dims",
        "fewer dimensions",
        kinds=("embedding",),
        facts={"leaves": "window", "refusal": "--keep-dims is for embeddings, not {kind}; use --crop or --downsample"},
        options=(
            Option(
                "--keep-dims",
                "Keep the first K dimensions.",
                "whole",
                low=1,
                metavar="K",
                multiple=True,
                param="keep",
            ),
        ),
    ),
    Row(
        "downsample",
        "fragment.drops:downsample",
        "a lower resolution",
        kinds=("image", "audio"),
        facts={"refusal": "--downsample is for images and sound, not {kind}"},
        options=(
            Option(
                "--downsample",
                "Divide the resolution by F.",
                "whole",
                low=2,
                metavar="F",
                multiple=True,
                param="factor",
            ),
        ),
    ),
    Row(
        "lowpass",
        "fragment.drops:lowpass",
        "no high frequencies",
        kinds=("audio", "spectrum"),
        facts={"masked": ("spectrum",), "refusal": "--lowpass is for sound and spectra, not {kind}"},
        options=(
            Option(
                "--lowpass",
                "Lose all above HZ: of sound the frequencies, of a spectrum the rows.",
                "amount",
                low=0,
                metavar="HZ",
                multiple=True,
            ),
        ),
    ),
    Row(
        "crop",
        "fragment.drops:crop",
        "a window of the whole",
        facts={"leaves": "window"},
        options=(
            Option(
                "--crop",
                "Keep a window; of sound a length, as in 1.5s, of a spectrum FxT[+F+T] (rows x frames).",
                metavar="WxH[+X+Y]",
                multiple=True,
            ),
        ),
    ),
    Row(
        "noise",
        "fragment.drops:noise",
        "Gaussian noise",
        kinds=REAL,
        facts={"leaves": "noisy", "refusal": "--noise does not suit {kind}: an index has no nearby values; use --mask"},
        options=(
            Option(
                "--noise",
                "Add Gaussian noise: in full scales (images, sound) or rms of the item.",
                "amount",
                low=0,
                metavar="SIGMA",
                multiple=True,
                param="sigma",
            ),
            Option("--clamp", "Clip what the preceding --noise gives to the range of images or sound.", "flag"),
        ),
    ),
    leaves="other",
    masked=(),
)
