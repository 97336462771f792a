"""The metrics of lem-compare, by the names a user writes.

A metric is one function in one of this folder's files and one row in `METRICS`. The function takes the originals a and
the recalled b, [N, ...] each, and by keyword the resources (resources.py) that its row `needs` or `uses`, and k. One
that is `of_set` is given all items at once. It answers with values [N], with a pair (values [N], others beside them
[N]), or with a `summary.Whole` where the set has one number. What stands beside, such as a floor, becomes a line by
itself.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..signal import LemError

ALL = ("image", "audio", "spectrum", "embedding", "tokens")
REAL = ("image", "audio", "spectrum", "embedding")
VECTORS = ("embedding",)


@dataclass(frozen=True)
class Metric:
    """How a metric is called, for whom it is, what it needs, and whether more is better.

    name: as printed; the variant stands in brackets, and {of} for what `of` says of its first line and of the one
    beside it. target: the function in this room, 'module:function'. of_set: it takes all items at once. needs:
    resources without which it is refused; `uses`: those it takes where there are any. side: the least side of an image.
    quick: the kinds it measures where nothing is asked for ('missing': where only missing elements count). groups: the
    words that stand for it among others. undefined: what an undefined value says of an embedding.
    """

    name: str
    kinds: tuple[str, ...]
    unit: str
    better: str
    target: str
    of_set: bool = False
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    side: int = 1
    of: tuple[str, str] = ("", "_floor")
    quick: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    undefined: str = ""


def _error(name: str, unit: str, better: str, needs: tuple[str, ...] = (), quick: tuple[str, ...] = ()) -> Metric:
    """A metric of the differences of elements; it can leave elements out."""
    return Metric(
        name, REAL, unit, better, f"distortion:{name}", False, needs, ("where",), quick=quick, groups=("all",)
    )


def _image(name: str, better: str, target: str, side: int, needs="structure", quick: tuple[str, ...] = ()) -> Metric:
    return Metric(name, ("image",), "", better, target, needs=(needs,), side=side, quick=quick, groups=("all",))


def _sound(name: str, better: str, target: str) -> Metric:
    return Metric(name, ("audio",), "dB", better, target, quick=("audio",), groups=("all",))


def _described(name: str, target: str) -> Metric:
    """A metric that describes one set of embeddings: it has a line for the recalled and one for the originals."""
    needs = ("spectra",) if target.startswith("spectral:") else ()
    return Metric(name, VECTORS, "", "", target, True, needs, of=("recalled", "original"), groups=("geometry",))


def _set(name: str, kinds: tuple[str, ...], better: str, target: str, **more) -> Metric:
    return Metric(name, kinds, "", better, target, of_set=True, **more)


_BOTH, _GEOMETRY, _TRAIN = ("all", "geometry"), ("geometry",), ("train",)
METRICS = {
    "mse": _error("mse", "", "lower", quick=("image", "missing")),
    "mae": _error("mae", "", "lower"),
    "max-abs": _error("max_abs", "", "lower"),
    "psnr": _error("psnr", "dB", "higher", ("peak",), quick=("image", "missing")),
    "ssim": _image("ssim[gauss11,{colour}]", "higher", "perceptual:ssim_gauss11", 11, quick=("image",)),
    "ssim-uniform7": _image("ssim[uniform7,{colour}]", "higher", "perceptual:ssim_uniform7", 7),
    "ms-ssim": _image("ms_ssim[gauss11,{colour}]", "higher", "perceptual:ssim_scales", 176),
    "gmsd": _image("gmsd", "lower", "perceptual:gmsd", 4, "peak"),
    "snr": _sound("snr", "higher", "sound:snr"),
    "si-sdr": _sound("si_sdr", "higher", "sound:si_sdr"),
    "lsd": _sound("lsd[hann1024,hop256]", "lower", "sound:log_spectral_distance"),
    "nmse": Metric("nmse", REAL, "", "lower", "distortion:nmse", quick=("spectrum", "embedding"), groups=_BOTH),
    "sqnr": Metric("sqnr", ("spectrum", "embedding"), "dB", "higher", "distortion:sqnr", groups=_BOTH),
    "cosine": Metric(
        "cosine",
        REAL,
        "",
        "higher",
        "distortion:cosine",
        quick=("spectrum", "embedding"),
        groups=_BOTH,
        undefined="is zero: it has no direction",
    ),
    "cosine-centred": _set("cosine[centred]", VECTORS, "higher", "similarity:cosine_centred", groups=_GEOMETRY),
    "mutual-knn@10": _set("mutual_knn[k{k}]", REAL, "higher", "geometry:mutual_knn", groups=_GEOMETRY),
    "mutual-knn-cosine@10": _set(
        "mutual_knn[cosine,k{k}]", VECTORS, "higher", "geometry:mutual_knn_cosine", groups=_GEOMETRY
    ),
    "recall@1": _set("recall@{k}", REAL, "higher", "geometry:recall_at_k", groups=_GEOMETRY),
    "recall-cosine@1": _set("recall@{k}[cosine]", VECTORS, "higher", "geometry:recall_cosine", groups=_GEOMETRY),
    "cka": _set("cka[linear,{of}]", VECTORS, "higher", "similarity:cka", of=("debiased", "biased"), groups=_GEOMETRY),
    "rankme": _described("rankme[{of}]", "spectral:rankme"),
    "effective-rank": _described("effective_rank[{of},eigenvalues]", "spectral:effective_rank"),
    "participation-ratio": _described("participation_ratio[{of}]", "spectral:participation_ratio"),
    "alpha-req@100": _described("alpha_req[{of},{k}]", "spectral:alpha_req"),
    "condition": _described("condition[{of}]", "spectral:condition"),
    "lempel-ziv": _described("lz76[{of},signs]", "complexity:lempel_ziv"),
    "frechet-pca@64": _set("frechet{of}[pca{k}]", REAL, "lower", "distribution:frechet_pca", uses=_TRAIN),
    "frechet-patch@8": _set("frechet{of}[patch{k}]", ("image",), "lower", "distribution:frechet_patch"),
    "nearest": _set("nearest{of}", REAL, "lower", "training:nearest", needs=_TRAIN),
    "nearest-patch@8": _set("nearest{of}[patch{k}]", ("image",), "lower", "training:nearest_patch", needs=_TRAIN),
    "memorised": _set("memorised{of}", REAL, "lower", "training:memorised", needs=_TRAIN),
    "mosaic@8": _set("mosaic{of}[patch{k}]", ("image",), "lower", "training:mosaic", needs=_TRAIN),
    "accuracy": Metric(
        "accuracy", ("tokens",), "", "higher", "distortion:accuracy", quick=("tokens",), groups=("all",)
    ),
    "bits": Metric("bits_per_element", ALL, "bit", "lower", "distortion:bits_per_element", needs=("bits",)),
}
QUICK = {word: [key for key, m in METRICS.items() if word in m.quick] for word in (*ALL, "missing")}
# a word for many, and the kinds it is for
SUITS = {"all": ALL, "geometry": VECTORS}
GROUPS = {word: [key for key, m in METRICS.items() if word in m.groups] for word in SUITS}


def listed(metrics: str | Iterable[str]) -> list[str]:
    """Metrics and groups as a user writes them, in any case, a list or joined by commas: each once, checked."""
    words = [metrics] if isinstance(metrics, str) else metrics
    words = [part.strip().lower().replace("_", "-") for word in words for part in word.split(",")]
    for word in words:
        if word not in GROUPS:
            named(word)
    return list(dict.fromkeys(words))


def named(text: str) -> tuple[str, int | None]:
    """(key of METRICS, k) of a metric as a user writes it: 'psnr', 'recall@5'. LemError for an unknown one."""
    base, at, k = text.partition("@")
    for key in METRICS:
        stem, has_k, default = key.partition("@")
        if base == stem and (not at or has_k) and re.fullmatch(r"\d*", k):
            k = int(k or default or 0)
            if has_k and k < 1:
                break
            return key, k or None
    from difflib import get_close_matches

    near = get_close_matches(base, [key.partition("@")[0] for key in (*METRICS, *GROUPS)], n=3, cutoff=0.5)
    hint = f"near it: {', '.join(near)}" if near else "lem-compare --help lists them"
    raise LemError(f"no metric {text!r}; {hint}")
