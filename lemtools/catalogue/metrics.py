"""What lem-compare measures.

A metric is a function (a, b, ...) of originals and recalled items [N, ...]. By keyword it gets k, the number behind the
@ of its name, and the resources of compare/resources.py that its row `needs` (it is refused without them) or `uses`
(where there are any). It answers with values [N]; with two such, its own and others beside them, such as a floor; or
with a compare.summary.Whole, where the set has one number. Facts:

    printed   the name of its lines, where it is not its own: {k}; {colour}, rgb or grey; {of}, what `of` says of its
              line and of the one beside it
    unit      of the values
    better    'higher', 'lower', or '' where it describes and does not judge
    k         the number behind @ where none is given; None for a metric that takes none
    often     the numbers behind @ that stand for it in a group and where nothing is asked for; none: k alone
    of_set    it takes all items at once; else a batch at a time
    widths    whether the two sets may differ in width: what it looks at is inside each
    uses      resources that it takes where there are any
    side      the least side of an image
    ends      the least and the greatest value that there can be
    counted   each value says yes or no, 1 or 0: the interval of their share is Wilson's; with ends (-1, 1) how one answer
              differs from another, 1, 0 or -1: that of their mean is Agresti & Min's
    quick     the kinds that it measures where nothing is asked for; 'missing': where only missing elements count; 'timed': of
              tokens with times; 'judged' and 'seen': with a judge, where classes are known and where they are not
    groups    the words that stand for it among others
    scaled    its values are in the units of the data, so that of images they say little without the scale
    extra     the optional extra that it comes with, as in pip install 'lemtools[extra]'; '' for none
    undefined what is wrong with an embedding for which it is undefined: an error where it is asked for by name
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .errors import LemError
from .row import Row
from .table import Table, near

INF = float("inf")
REAL = ("image", "audio", "spectrum", "field", "embedding")
ALL = (*REAL, "tokens")
IMAGE, AUDIO, VECTORS, TOKENS, STATES = ("image",), ("audio",), ("embedding",), ("tokens",), ("field",)

GROUPS = Table(
    "group of metrics",
    Row("all", "catalogue.metrics:members", "all of single items that suit the kind", ALL),
    Row("geometry", "catalogue.metrics:members", "all that embeddings are judged by", VECTORS),
)


def _row(
    name: str,
    target: str,
    help: str,
    kinds: tuple[str, ...],
    better: str = "",
    unit: str = "",
    printed: str = "",
    needs: tuple[str, ...] = (),
    **facts: Any,
) -> Row:
    facts |= {"better": better, "unit": unit, "printed": printed}
    shown = f"{name}@K" if "k" in facts else name
    return Row(name, f"compare.{target}", help, kinds, needs=needs, shown=shown, facts=facts)


# What several rows have in common.
_ITEM: dict[str, Any] = {"groups": ("all",)}
_SET: dict[str, Any] = {"groups": ("geometry",), "of_set": True}
_BOTH: dict[str, Any] = {"groups": ("all", "geometry")}
_ERROR: dict[str, Any] = {"groups": ("all",), "uses": ("where",)}
_SSIM: dict[str, Any] = {"groups": ("all",), "needs": ("peak",), "uses": ("shared",)}
_OWN = _SET | {"of": ("recalled", "original")}  # it describes one set: a line for each
_SPECTRUM = _OWN | {"needs": ("spectra",)}
_SPEECH: dict[str, Any] = {"needs": ("rate",), "extra": "speech"}
_ABOVE: dict[str, Any] = {"ends": (0, INF)}
_SHARE: dict[str, Any] = {"ends": (0, 1)}
_TURN: dict[str, Any] = {"ends": (-1, 1)}
_TIMES: dict[str, Any] = {"groups": ("all",), "of_set": True, "needs": ("boundaries",), "quick": ("timed",)}
_SUBJECTS = ("recalled-to-subjects", "original-to-subjects", "recalled-less-original", "ceiling-lower", "ceiling-upper")
_CLASSES: dict[str, Any] = {"of_set": True, "needs": ("classes",)}
_NAMED: dict[str, Any] = _CLASSES | {"uses": ("words",)}
_SHUFFLED = ("recalled", "original", "shuffled")
_TRAIN: dict[str, Any] = {"of_set": True, "needs": ("train",)}
_SEEN = ("image", "audio", "spectrum", "embedding")  # by judges
_CHANNELS, _PLACES = ("image", "audio", "spectrum", "field"), ("image", "field")
_UNBOUND, _FEW = ("spectrum", "field", "embedding"), ("image", "missing")
_HEARD = ("audio", "missing")

# fmt: off
METRICS = Table(
    "metric",
    _row("mse", "distortion:mse", "mean squared error", REAL, "lower", quick=_FEW, scaled=True, **_ERROR, **_ABOVE),
    _row("mae", "distortion:mae", "mean absolute error", REAL, "lower", scaled=True, **_ERROR, **_ABOVE),
    _row("max-abs", "distortion:max_abs", "largest absolute error", REAL, "lower", scaled=True, **_ERROR, **_ABOVE),
    _row("psnr", "distortion:psnr", "peak signal-to-noise ratio", REAL, "higher", "dB",
         needs=("peak",), quick=_FEW, **_ERROR),
    _row("ssim", "perceptual:ssim", "structural similarity", IMAGE, "higher",
         printed="ssim[gauss11,{colour}]", side=11, quick=IMAGE, **_SSIM, **_TURN),
    _row("ssim-uniform7", "perceptual:ssim_uniform7", "structural similarity, equal weights", IMAGE, "higher",
         printed="ssim[uniform7,{colour}]", needs=("peak",), side=7, **_ITEM, **_TURN),
    _row("ms-ssim", "perceptual:ms_ssim", "structural similarity at five scales", IMAGE, "higher",
         printed="ms_ssim[gauss11,{colour}]", side=176, **_SSIM, **_TURN),
    _row("gmsd", "perceptual:gmsd", "deviation of the similarity of gradients", IMAGE, "lower",
         needs=("peak",), side=4, **_ITEM, **_ABOVE),
    _row("snr", "sound:snr", "signal-to-noise ratio", AUDIO, "higher", "dB", quick=_HEARD, **_ERROR),
    _row("snr-gaps", "sound:snr_gaps", "snr of each gap, the mean over gaps", AUDIO, "higher", "dB",
         needs=("gaps",), quick=("missing",), **_ITEM),
    _row("segsnr", "short_time:segmental_snr", "segmental SNR: of frames, in [-10, 35] dB", AUDIO, "higher", "dB",
         printed="segsnr[30ms]", needs=("rate",), ends=(-10, 35), **_ITEM),
    _row("si-sdr", "sound:si_sdr", "signal-to-distortion ratio, up to a gain", AUDIO, "higher", "dB",
         quick=AUDIO, **_ITEM),
    _row("lsd", "sound:log_spectral_distance", "distance of log spectra", AUDIO, "lower", "dB",
         printed="lsd[hann1024,hop256]", quick=AUDIO, **_ITEM, **_ABOVE),
    _row("mr-stft", "short_time:multi_resolution_stft", "distance of spectra at three resolutions", AUDIO, "lower",
         printed="mr_stft[512,1024,2048]", **_ITEM, **_ABOVE),
    _row("pesq", "speech:pesq_wide", "quality of speech, wide-band PESQ, at 16 kHz", AUDIO, "higher", printed="pesq[wb]", **_SPEECH),
    _row("pesq-nb", "speech:pesq_narrow", "narrow-band PESQ, at 8 or 16 kHz", AUDIO, "higher", printed="pesq[nb]", **_SPEECH),
    _row("stoi", "speech:stoi", "intelligibility of speech", AUDIO, "higher", **_SPEECH),
    _row("estoi", "speech:estoi", "intelligibility, extended STOI", AUDIO, "higher", **_SPEECH),
    _row("visqol", "speech:visqol", "quality of speech, ViSQOL, at 16 kHz", AUDIO, "higher", printed="visqol[speech]", **_SPEECH),
    _row("nmse", "distortion:nmse", "squared error over the original's energy", REAL, "lower", quick=_UNBOUND, **_BOTH, **_ABOVE),
    _row("sqnr", "distortion:sqnr", "nmse in decibels", _UNBOUND, "higher", "dB", **_BOTH),
    _row("cosine", "distortion:cosine", "cosine of the angle between the two", REAL, "higher",
         quick=_UNBOUND, undefined="is zero: it has no direction", **_BOTH, **_TURN),
    _row("cosine-centred", "similarity:cosine_centred", "cosine about the mean of the originals", VECTORS, "higher",
         printed="cosine[centred]", **_SET, **_TURN),
    _row("mutual-knn", "geometry:mutual_knn", "share of the K nearest neighbours that stayed", REAL, "higher",
         printed="mutual_knn[k{k}]", k=10, widths=True, **_SET, **_SHARE),
    _row("mutual-knn-cosine", "geometry:mutual_knn_cosine", "mutual-knn by cosine", VECTORS, "higher",
         printed="mutual_knn[cosine,k{k}]", k=10, widths=True, **_SET, **_SHARE),
    _row("recall", "geometry:recall_at_k", "whether the original is among the K nearest", REAL, "higher",
         printed="recall@{k}", k=1, **_SET, **_SHARE),
    _row("recall-cosine", "geometry:recall_cosine", "recall by cosine", VECTORS, "higher",
         printed="recall@{k}[cosine]", k=1, **_SET, **_SHARE),
    _row("recall-csls", "retrieval:recall_csls", "recall by cosine, hubs held down (CSLS)", VECTORS, "higher",
         printed="recall@{k}[csls10]", k=1, of_set=True, **_SHARE),
    _row("mrr", "retrieval:reciprocal_rank", "reciprocal rank of the original, by cosine", VECTORS, "higher",
         printed="mrr[cosine]", of_set=True, **_SHARE),
    _row("cka", "similarity:cka", "linear centred kernel alignment", VECTORS, "higher",
         printed="cka[linear,{of}]", of=("debiased", "biased"), widths=True, **_SET),
    _row("rsa", "representations:rsa", "similarity of the dissimilarities of all pairs of items", REAL, "higher",
         printed="rsa[{of}]", of=("correlation", "cosine", *_SUBJECTS), widths=True, of_set=True, uses=("rdm",), **_TURN),
    _row("linear-predictivity", "representations:linear_predictivity", "how well a linear map predicts originals not seen",
         VECTORS, "higher", printed="linear_predictivity[{of}]", of=("r", "R^2"), widths=True, of_set=True),
    _row("probe", "classes:probe", "whether a linear classifier finds the class of an item that it has not seen", REAL, "higher",
         printed="probe[{of}]", of=("fitted", "refitted", "original", "majority"), counted=True, **_NAMED, **_SHARE),
    _row("nc1", "classes:nc1", "spread within classes over that between them (neural collapse)", REAL, "lower",
         printed="nc1[{of}]", of=_SHUFFLED, widths=True, **_NAMED),
    _row("mmcr", "classes:mmcr", "nuclear norm of the class means of unit vectors", REAL, "higher",
         printed="mmcr[{of}]", of=_SHUFFLED, widths=True, **_CLASSES),
    _row("ami", "classes:ami", "what K clusters say of the classes", REAL, "higher",
         printed="ami[k{k},{of}]", of=("recalled", "original"), k=10, widths=True, **_CLASSES),
    _row("rankme", "spectral:rankme", "effective rank, about zero", VECTORS, printed="rankme[{of}]", **_SPECTRUM),
    _row("effective-rank", "spectral:effective_rank", "effective rank of the covariance", VECTORS,
         printed="effective_rank[{of},eigenvalues]", **_SPECTRUM),
    _row("participation-ratio", "spectral:participation_ratio", "how many directions share the variance", VECTORS,
         printed="participation_ratio[{of}]", **_SPECTRUM),
    _row("alpha-req", "spectral:alpha_req", "decay of the eigenvalues, up to the K-th", VECTORS,
         printed="alpha_req[{of},{k}]", k=100, **_SPECTRUM),
    _row("condition", "spectral:condition", "largest over smallest singular value", VECTORS,
         printed="condition[{of}]", **_SPECTRUM),
    _row("lempel-ziv", "complexity:lempel_ziv", "complexity of the signs", VECTORS, printed="lz76[{of},signs]", **_OWN),
    _row("frechet-pca", "distribution:frechet_pca", "distance of the sets on K principal axes", REAL, "lower",
         printed="frechet{of}[pca{k}]", k=64, of_set=True, uses=("train",)),
    _row("frechet-log-mel", "log_mel:frechet_log_mel", "distance of the sets' log-mel frames on K axes", AUDIO, "lower",
         printed="frechet{of}[log-mel,pca{k}]", needs=("rate",), k=16, of_set=True),
    _row("frechet-patch", "distribution:frechet_patch", "distance of the sets of K x K patches", IMAGE, "lower",
         printed="frechet{of}[patch{k}]", k=8, of_set=True),
    _row("nearest", "training:nearest", "distance to the nearest training item", REAL, "lower",
         printed="nearest{of}", **_TRAIN, **_ABOVE),
    _row("nearest-patch", "training:nearest_patch", "distance to the nearest training patches", IMAGE, "lower",
         printed="nearest{of}[patch{k}]", k=8, **_TRAIN, **_ABOVE),
    _row("memorised", "training:memorised", "share that copies a training item", REAL, "lower",
         printed="memorised{of}", counted=True, **_TRAIN, **_SHARE),
    _row("mosaic", "training:mosaic", "share of patches from other training images", IMAGE, "lower",
         printed="mosaic{of}[patch{k}]", k=8, **_TRAIN, **_SHARE),
    _row("w1", "states:w1", "Wasserstein-1 distance of the values, by channel", _CHANNELS, "lower",
         printed="w1{of}", of_set=True, **_ABOVE),
    _row("log-spectrum", "states:log_spectrum", "decades between the mean spectra", _PLACES, "lower",
         printed="log_spectrum{of}", of_set=True, **_ABOVE),
    _row("log-spectrum-low", "states:log_spectrum_low", "log-spectrum of the modes 1 to K", _PLACES, "lower",
         printed="log_spectrum{of}[1-{k}]", k=7, of_set=True, **_ABOVE),
    _row("psd-slope", "slopes:psd_slope", "exponent of the power spectral density", ("image", "spectrum"),
         printed="psd_slope[{of}]", of=("recalled", "original"), needs=("kind", "front"), side=16, **_ITEM),
    _row("survival", "states:survival", "share that is finite and of the originals' size", STATES, "higher",
         of_set=True, counted=True, **_SHARE),
    _row("accuracy", "distortion:accuracy", "share of equal tokens", TOKENS, "higher", needs=("ids",), quick=TOKENS, **_ITEM, **_SHARE),
    _row("boundary-mae", "boundaries:mean_error", "error of phone boundaries", TOKENS, "lower", "ms", **_TIMES),
    _row("boundary-median", "boundaries:median_error", "median error of phone boundaries", TOKENS, "lower", "ms", **_TIMES),
    _row("boundary-bias", "boundaries:bias", "how late phone boundaries are guessed", TOKENS, unit="ms", **_TIMES),
    _row("boundary-within", "boundaries:within", "share of boundaries that are K ms off at most", TOKENS, "higher",
         printed="boundary_within[{k}ms]", k=20, often=(10, 20, 25, 50), **_TIMES),
    _row("boundary-f1", "boundaries:f1", "boundaries found, K ms off at most: F1 over all of both", TOKENS, "higher",
         printed="boundary_f1[{k}ms]", k=20, **_TIMES),
    _row("boundary-matched", "boundaries:matched", "share of boundaries whose two phones match", TOKENS, "higher", **_TIMES),
    _row("boundaries", "boundaries:count", "how many boundaries match, of how many", TOKENS,
         printed="boundaries[{of}]", of=("matched", "all"), **_TIMES),
    _row("judged", "judged:judged", "share that a judge puts in its class", _SEEN, "higher", printed="judged[recalled]",
         needs=("judge", "truth"), quick=("judged",), counted=True, **_SHARE),
    _row("judged-original", "judged:judged_original", "the same of the originals", _SEEN, "higher", printed="judged[original]",
         needs=("judge", "truth"), quick=("judged",), counted=True, **_SHARE),
    _row("judged-change", "judged:change", "share judged right, less that of the originals", _SEEN, "higher",
         needs=("judge", "truth"), quick=("judged",), counted=True, **_TURN),
    _row("agreement", "judged:agreement", "share of which a judge says what it says of the original", _SEEN, "higher",
         needs=("judge",), quick=("judged", "seen"), counted=True, **_SHARE),
    _row("deep", "judged:deep", "cosine of a judge's features at layer K", _SEEN, "higher", printed="deep@{k}",
         needs=("judge",), k=3, **_TURN),
    _row("bits", "distortion:bits_per_element", "cost of the fragment", ALL, "lower", "bit",
         printed="bits_per_element", needs=("bits",), **_ABOVE),
    unit="", better="", printed="", k=None, often=(), of_set=False, widths=False, uses=(), side=1, of=("", "_floor"), quick=(), groups=(), scaled=False,
    extra="", undefined="", ends=(-INF, INF), counted=False,
)
# fmt: on


def quick(word: str) -> list[str]:
    """The metrics measured of a kind where nothing is asked for; of 'missing', where only missing elements count."""
    return [key for row in METRICS.rows if word in row.quick for key in _written(row)]


def taking(*resources: str) -> list[str]:
    """The metrics that need or use one of the resources."""
    return [row.name for row in METRICS.rows if {*resources} & {*row.needs, *row.uses}]


def members(group: str) -> list[str]:
    """The metrics that a group stands for, as a user would write them."""
    return [key for row in METRICS.rows if group in row.groups for key in _written(row)]


def _written(row: Row) -> list[str]:
    """A metric as a user would write it, once for each of its usual numbers."""
    return [f"{row.name}@{k}" for k in row.often or (row.k,)] if row.k else [row.name]


def named(text: str) -> tuple[Row, int | None]:
    """(row, k) of a metric as a user writes it: 'psnr', 'recall@5'. LemError for an unknown one, with those near it."""
    name, at, k = text.partition("@")
    row = METRICS.get(name)
    if row is not None and (not at or (row.k and re.fullmatch(r"0*[1-9]\d*|", k))):
        return row, int(k) if k else row.k
    found = near(name, [*METRICS, *GROUPS])
    hint = f"near it: {', '.join(found)}" if found else "lem-compare --help lists them"
    raise LemError(f"no metric {text!r}; {hint}")


def spelled(metrics: str | Iterable[str]) -> list[str]:
    """Metrics and groups as a user writes them, in any case, a list or joined by commas: each once, checked."""
    words = [metrics] if isinstance(metrics, str) else metrics
    words = [part.strip().lower().replace("_", "-") for word in words for part in word.split(",")]
    for word in words:
        if word not in GROUPS:
            named(word)
    return list(dict.fromkeys(words))
