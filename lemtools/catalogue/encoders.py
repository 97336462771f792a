"""Encoders of lem-encode.

An encoder is a class: encode.contract.Encoder, or Fitted where it is kept in a file. `kinds` are those that it encodes.
Its options are keywords of the class or, where they are settled by a fit, of its `fit`, else, where it is fitted, of `asked`; of its `needs` 'device', 'seed' and
'model', a file that is no encoder's own, are handed on in the same way. Its facts:

    back       kinds that it decodes; () where it does not invert
    fitted     whether it is kept in a file (Fitted)
    made       what its file holds and who makes it, where there is no encoding without one
    of_itself  whether, where there is no file, it is fitted to the very input
    ending     of the files that are read in a folder that an option names, where not all are
    long       whether it takes a long sound in pieces (signal.Long)
    front      of an encoder that makes spectra: the class of its front end (transforms.contract.Front); else ''
"""

from .encoding import ALIKE, BANDS, FLAT, HF, HOP, LAYER, RESIDUAL, SHORT, SPOKEN, WEIGHTS, WHITEN, WINDOW
from .row import Option, Row
from .table import Table
from .translating import TRANSLATE

LONGEST = 8  # bases of a token: 65,536 kinds
ENCODERS = Table(
    "encoder",
    Row(
        "patches",
        "encode.patches:Patches",
        "images as square patches in reading order; inverts exactly",
        kinds=("image",),
        options=(Option("--size", "Side of the patches.", "whole", low=1, default=8, metavar="PX"),),
        facts={"back": ("embedding",)},
    ),
    Row(
        "pca",
        "encode.pca:PCA",
        "images or embeddings as their principal components",
        kinds=("image", "embedding"),
        options=(
            Option(
                "--dims",
                "Principal components to keep; without --fit or --model they are those of the input itself.",
                "whole",
                low=1,
                usual="all in which it varies",
                metavar="K",
                settled=True,
            ),
            WHITEN,
        ),
        facts={
            "back": ("embedding",),
            "fitted": True,
            "made": "its components: --model FILE, from --fit",
            "of_itself": True,
        },
    ),
    Row(
        "text",
        "encode.text:Text",
        "text as its bytes or, once fitted, as byte pairs; inverts exactly",
        kinds=("tokens",),
        options=(
            Option(
                "--vocab",
                "Tokens of the byte-pair encoding that --fit learns.",
                "whole",
                low=257,
                high=65536,
                default=4096,
                metavar="V",
                settled=True,
            ),
        ),
        facts={"back": ("tokens",), "fitted": True},
    ),
    Row(
        "kmer",
        "encode.kmers:Kmers",
        "genomes as tokens of K bases in a row; decodes to the bases alone",
        kinds=("tokens",),
        options=(Option("--bases", "Bases of a token.", "whole", low=1, high=LONGEST, default=6, metavar="K"),),
        facts={"back": ("tokens",)},
    ),
    Row(
        "rvq",
        "encode.dense:Dense",
        "embeddings as a few codes each, by a residual quantiser",
        kinds=("embedding",),
        options=(
            *RESIDUAL,
            Option(
                "--validate",
                "Embeddings on which the fit is measured.",
                usual="a tenth, left out of the fit",
                metavar="PATH",
                settled=True,
                file=True,
            ),
        ),
        needs=("device", "seed"),
        facts={"back": ("tokens",), "fitted": True, "made": "its codebooks: --model FILE, from --fit"},
    ),
    Row(
        "translate",
        "encode.translate:Translate",
        "embeddings of one model as those of another or of a hub, by maps learnt from pairs; decodes, too",
        kinds=("embedding",),
        options=TRANSLATE,
        needs=("seed",),
        facts={
            "back": ("embedding",),
            "fitted": True,
            "made": "its map: --model FILE, from --fit --onto or --common",
        },
    ),
    Row(
        "token-ae",
        "encode.token_ae:TokenAE",
        "tokens as a vector for every few, by a network of lem-train token-ae; decodes, too",
        kinds=("tokens",),
        needs=("device",),
        facts={
            "back": ("embedding",),
            "fitted": True,
            "made": "its network: --model FILE, from lem-train token-ae",
        },
    ),
    Row(
        "stft",
        "encode.spectra:STFT",
        "sounds as complex spectra, a frame every few samples; inverts exactly",
        kinds=("audio",),
        options=(
            Option(
                "--preset",
                "els-audio: Hann windows of 1024 samples, every 256, of sounds at an rms of .2, the middle 173 frames; what "
                "else is given overrides it.",
                ("els-audio",),
            ),
            *SHORT,
            Option(
                "--compress",
                "Raise magnitudes to this power, phases stay; decoding undoes it.",
                "number",
                low=0.1,
                high=1,
                default=1,
                metavar="P",
            ),
            *ALIKE,
        ),
        facts={"back": ("spectrum",), "front": "transforms.short:ShortTime"},
    ),
    Row(
        "morlet",
        "encode.spectra:MorletRows",
        "sounds through complex wavelets, rows evenly spaced in pitch; inverts exactly",
        kinds=("audio",),
        options=(
            Option("--voices", "Rows an octave.", "whole", low=4, high=96, default=24, metavar="V"),
            Option(
                "--lowest",
                "Frequency of the lowest row; it also holds what is lower.",
                "number",
                low=1,
                default=20,
                metavar="HZ",
            ),
            HOP,
            *ALIKE,
        ),
        facts={"back": ("spectrum",), "front": "transforms.morlet:Morlet"},
    ),
    Row(
        "mel",
        "encode.spectra:Mel",
        "sounds as their power in mel bands; decodes, with phases of its own (Griffin-Lim)",
        kinds=("audio",),
        options=(*SHORT, BANDS, *ALIKE),
        facts={"back": ("spectrum",), "front": "transforms.bands:Mel"},
    ),
    Row(
        "log-mel",
        "encode.spectra:LogMel",
        "the logarithms of mel bands; decodes, in the same way",
        kinds=("audio",),
        options=(*SHORT, BANDS, *ALIKE),
        facts={"back": ("spectrum",), "front": "transforms.bands:LogMel"},
    ),
    Row(
        "mfcc",
        "encode.spectra:MFCC",
        "sounds as mel-frequency cepstra; decodes, in the same way",
        kinds=("audio",),
        options=(
            *SHORT,
            BANDS,
            Option("--coefficients", "Cepstral coefficients to keep.", "whole", low=1, default=20, metavar="K"),
            *ALIKE,
        ),
        facts={"back": ("spectrum",), "front": "transforms.bands:MFCC"},
    ),
    Row(
        "voice",
        "encode.voice:Voice",
        "a sound as one vector for who speaks",
        kinds=("audio",),
        options=(WEIGHTS,),
        needs=("device",),
    ),
    Row(
        "prosody",
        "encode.prosody:Prosody",
        "speech as six numbers: f0 median and range, level, tilt, rate, voiced share",
        kinds=("audio",),
    ),
    Row(
        "phones",
        "encode.phones:Phones",
        "speech and its text as phones, each with its begin and end",
        kinds=("audio",),
        options=SPOKEN,
        facts={"ending": ".txt", "long": True},
    ),
    Row(
        "efficientnet",
        "encode.efficientnet:EfficientNet",
        "an image as one vector for what is on it",
        kinds=("image",),
        options=(WEIGHTS, LAYER),
        needs=("device",),
    ),
    Row(
        "minilm",
        "encode.minilm:MiniLM",
        "a text as one vector for what it says",
        kinds=("tokens",),
        options=(HF,),
        needs=("device",),
    ),
    Row(
        "activations",
        "encode.activations:Activations",
        "a text as the hidden states of a language model",
        kinds=("tokens",),
        options=(
            HF,
            Option("--lm", "Language model of lem-train lm, in place of --hf.", metavar="FILE", file=True),
            Option(
                "--codec",
                "The byte pairs (--encoder text --fit) of --lm, which then takes text, and says how many bytes a position has read.",
                metavar="FILE",
                file=True,
            ),
            LAYER,
            WINDOW,
            FLAT,
        ),
        needs=("device",),
    ),
    Row(
        "features",
        "encode.features:Features",
        "memories as a layer of a classifier has them, by a --model of lem-train classifier",
        kinds=("image", "audio", "spectrum", "embedding"),
        options=(LAYER,),
        needs=("model", "device"),
    ),
    Row(
        "thoughts",
        "encode.thoughts:Thoughts",
        "a text as what each position hands on, by a --model of lem-train lm --thoughts",
        kinds=("tokens",),
        options=(WINDOW, FLAT),
        needs=("model", "device"),
    ),
    back=(),
    fitted=False,
    made="",
    ending="",
    long=False,
    of_itself=False,
    front="",
)
