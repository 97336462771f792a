"""Options of the encoders of lem-encode, each once: some are shared, some are taken by lem-train and lem-els, too."""

from .row import Option

WHITEN = Option("--whiten", "Divide every direction by its standard deviation.", "flag", settled=True)
HF = Option(
    "--hf",
    "Folder of a Hugging Face model: a causal one (activations) or a sentence encoder (minilm).",
    metavar="DIR",
    file=True,
)
RESIDUAL = (  # of a residual quantiser, for lem-train rvq, too
    Option(
        "--stages",
        "Stages: how many codes a vector becomes, each coding what those before it left.",
        "whole",
        low=1,
        high=256,
        default=4,
        metavar="S",
        settled=True,
    ),
    Option(
        "--codes",
        "Size of the codebook of each stage.",
        "whole",
        low=2,
        high=65536,
        default=1024,
        metavar="K",
        settled=True,
    ),
    Option(
        "--groups",
        "Split each vector into G parts and quantise each part by itself, with all stages.",
        "whole",
        low=1,
        default=1,
        metavar="G",
        settled=True,
    ),
    Option(
        "--beam",
        "How many candidates the search for the best codes keeps (beam search).",
        "whole",
        low=1,
        high=4096,
        default=16,
        metavar="B",
        settled=True,
    ),
    Option(
        "--cosine",
        "Weight of 1 - cosine, added to the squared error.",
        "number",
        low=0,
        default=0,
        metavar="W",
        settled=True,
    ),
    Option("--gain-shape", "Code the length of a vector separately from its direction.", "flag", settled=True),
    WHITEN,
)

ALIKE = (  # what sounds are made before they become spectra
    Option("--mono", "Take the mean of all channels.", "flag"),
    Option("--resample", "Change the sample rate to HZ.", "whole", low=1, high=768_000, metavar="HZ"),
    Option(
        "--length",
        "Make every sound S seconds long: silence is put behind shorter ones, and of longer ones the beginning is taken. "
        "S:pad refuses longer ones, S:crop shorter ones.",
        metavar="S[:pad|crop]",
    ),
)
WINDOW_FN = Option(
    "--window-fn",
    "The window, periodic.",
    ("hann", "hamming", "blackman", "blackmanharris", "rect", "sine", "sqrt-hann"),
    usual="hann",
)
HOP = Option(
    "--hop",
    "Samples from one frame to the next.",
    "whole",
    low=1,
    usual="a quarter of the window, and 1 for morlet, which decodes no other",
    metavar="H",
)
SHORT = (  # of the short-time Fourier transform
    Option("--n-fft", "Samples of a window, an even number.", "whole", low=2, high=1 << 16, usual="1024", metavar="N"),
    HOP,
    WINDOW_FN,
    Option(
        "--rms",
        "Bring every sound to this root mean square before; its own loudness is not kept.",
        "number",
        low=0,
        open=("low",),
        metavar="R",
        usual="as it is",
    ),
    Option("--middle", "Keep only so many frames, the middle ones.", "whole", low=1, metavar="N", usual="all"),
)
BANDS = Option(
    "--bands", "Mel bands, from 0 Hz to half the sample rate.", "whole", low=1, high=4096, default=80, metavar="N"
)

WINDOW = Option(
    "--window",
    "Cut longer documents into windows of L tokens.",
    "whole",
    low=1,
    usual="what the model takes, at most 1024",
    metavar="L",
)
FLAT = Option("--flat", "Make every position a memory, one vector.", "flag")

SPOKEN = (
    Option(
        "--text",
        "What is said: a file for one sound, or a folder with a STEM.txt for each.",
        metavar="PATH",
        file=True,
    ),
    Option(
        "--phones",
        "In place of a text its phones, with spaces between them and | or a new line between words, in ARPABET, IPA, misaki's "
        "letters or SAMPA. Each is aligned as the English phone that is most like it.",
        metavar="PATH",
        file=True,
    ),
    Option(
        "--dict",
        "Phones of words that the dictionary does not have or says otherwise: lines of a word and its ARPABET phones.",
        metavar="FILE",
        file=True,
        param="dictionary",
    ),
    Option(
        "--language",
        "Of the text. All but en are spoken by the rules of espeak-ng, where that is installed.",
        default="en",
        metavar="CODE",
    ),
    Option(
        "--alphabet",
        "How phones are written: kokoro has misaki's letters, A I O W Y for diphthongs.",
        ("arpabet", "ipa", "kokoro"),
        usual="arpabet, or as --phones has them",
    ),
    Option(
        "--refine",
        "How boundaries are made finer than frames of 10 ms: not at all (none), by the same shift for all (constant), by one for the "
        "classes of the two phones (classes), to where the spectrum changes most (spectral), or by the model of lem-train phones in "
        "a file.",
        default="spectral",
        metavar="HOW",
        words=("none", "constant", "classes", "spectral"),
        file=True,
    ),
    Option(
        "--fallback",
        "Where no path can be found (silence, less than 30 ms a phone), spread the phones evenly in place of an error.",
        ("even",),
    ),
)

WEIGHTS = Option(
    "--weights",
    "Weights of the network: resemblyzer's pretrained.pt (voice), or efficientnet-lite0's .pth (efficientnet).",
    metavar="FILE",
    file=True,
)
LAYER = Option(
    "--layer",
    "Which layer: of activations the states after K blocks, 0 the embedding, -1 the last block; of features and efficientnet 1 is the lowest.",
    "whole",
    metavar="K",
)
