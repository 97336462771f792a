"""lem-compare: measure what came back."""

import click

from . import common, results

EXAMPLES = """
lem-compare photo.png recalled.png
lem-compare --metric psnr --min psnr=30 photos/ recalled/
lem-fragment --bits 3 photos/ | lem-reconstruct | lem-compare --metric all --json photos/ -
lem-compare --fragment fragments.safetensors --plot sheet.png photos/ recalled/
lem-compare --metric nearest --metric memorised --metric mosaic --train store.safetensors faces/ faces/
"""


# metrics of single items, of which no product is large enough for threads
SMALL = (
    "all",
    "mse",
    "mae",
    "max",
    "psnr",
    "ssim",
    "ms-",
    "gmsd",
    "snr",
    "si-",
    "lsd",
    "nmse",
    "sqnr",
    "accuracy",
    "bits",
)


class Threshold(click.ParamType):
    """NAME=VALUE, the name in lower case."""

    name = "threshold"

    def convert(self, value, param, ctx):
        name, _, number = value.partition("=")
        try:
            if (number := float(number)) == number:  # nothing is above or below NaN
                return name.lower().replace("_", "-"), number
        except ValueError:
            pass
        self.fail(f"{value!r} is not NAME=VALUE, as in psnr=30", param, ctx)


@common.command("lem-compare", EXAMPLES)
@click.argument("original", metavar="ORIGINAL", type=click.Path())
@click.argument("recalled", metavar="RECALLED", type=click.Path())
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME",
    help="Measure this: mse, mae, max-abs, psnr, ssim, ssim-uniform7, ms-ssim, gmsd, snr, si-sdr, lsd, nmse, sqnr, "
    "cosine, cosine-centred, mutual-knn@K, mutual-knn-cosine@K, recall@K, recall-cosine@K, cka, rankme, "
    "effective-rank, participation-ratio, alpha-req@K, condition, lempel-ziv, frechet-pca@K, frechet-patch@K, nearest, "
    "nearest-patch@K, memorised, mosaic@K, accuracy, bits, or all; geometry: all that embeddings are judged by.  "
    "[default: mse psnr ssim, snr si-sdr lsd, accuracy, or nmse cosine, by kind]",
)
@click.option(
    "--min",
    "minimum",
    type=Threshold(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Exit with 1 if the mean is lower.",
)
@click.option(
    "--max",
    "maximum",
    type=Threshold(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Exit with 1 if the mean is higher.",
)
@click.option(
    "--pair",
    type=click.Choice(["auto", "order", "name"]),
    default="auto",
    show_default=True,
    help="Match items by order or by name; auto is by order and checks the names.",
)
@click.option(
    "--peak",
    type=common.Finite(0, min_open=True),
    metavar="P",
    help="Range of the values, for psnr and ssim.  [default: 255 or 1 for images, 1 for sound]",
)
@click.option(
    "--train",
    multiple=True,
    metavar="STORE",
    help="What a model was trained on, for nearest, memorised and mosaic: files or folders; a lone safetensors or npy "
    "file is mapped, not read.",
)
@click.option(
    "--where",
    type=click.Choice(["all", "missing"]),
    default="all",
    show_default=True,
    help="Measure all elements, or only those that the --fragment does not hold exactly (mse, mae, max-abs, psnr).",
)
@click.option("--items", is_flag=True, help="Print every item's value before the means.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.option(
    "--plot",
    metavar="[VIEW:]FILE",
    help="Draw a picture (PNG): of embeddings both sets on the two principal axes of the originals, and both spectra; "
    "of all else a contact sheet: original, fragment, recalled, difference. VIEW picks one: sheet, pca or umap; alone "
    "it writes VIEW.png. A UMAP picture is not evidence.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Rows of the --plot.",
)
@click.option(
    "--fragment",
    metavar="FILE",
    help="The fragments, for a column of the --plot and for --where missing.",
)
@click.option(
    "--key",
    metavar="NAME",
    help="Tensor or array to read from a foreign safetensors or npz file.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    envvar="LEM_BATCH",
    metavar="N",
    help="Items a batch.  [default: about 16 MiB]",
)
def cli(run, original, recalled, metric, minimum, maximum, pair, train, items, as_json, key, batch, **options):
    """Compare ORIGINAL with RECALLED: files, folders or streams (- is standard input).

    Prints NAME, mean, the two ends of its 95 % interval over items, and the number of items, separated by tabs.
    """
    plot, fragment, missing = options["plot"], options["fragment"], options["where"] == "missing"
    view, plot, rows = _checked(original, recalled, pair, **options)
    names = [part.lower() for word in metric for part in word.split(",")]
    if all(name.startswith(SMALL) or name == "cosine" for name in names):  # the others are large matrix products
        common.one_thread()
    from ..compare import GROUPS, METRICS, Comparison, listed, missed, named
    from ..compare import pair as paired
    from ..media import load, store
    from ..stream import whole_file

    limits = [name for name, _ in (*minimum, *maximum)]
    for name in limits:
        if name in GROUPS:
            raise click.UsageError(f"--min and --max take one metric each, not {name}")
    asked = listed([*metric, *limits])
    if train and not any(
        "train" in (*m.needs, *m.uses) for m in (METRICS[named(n)[0]] for n in asked if n not in GROUPS)
    ):
        able = ", ".join(name for name, m in METRICS.items() if "train" in (*m.needs, *m.uses))
        raise click.UsageError(f"--train is for --metric {able}")
    comparison = Comparison(asked, peak=options["peak"], train=store(list(train)) if train else None)
    if plot:
        from ..compare.plot import Plot

        results.picture(plot, "--plot", [original, recalled, *([fragment] if fragment else [])])
        picture = Plot(view, rows, load([fragment]) if fragment else None)
    sides = [load([path], key=key, batch=batch) for path in (original, recalled)]
    for both in run.progress(paired(*sides, by=pair, fragments=load([fragment]) if missing else None)):
        if plot:
            picture.add(both, comparison)
        comparison.add(both)
    found = comparison.results()
    for note in comparison.notes(found):
        run.note(note)
    if plot:
        with whole_file(plot) as file:
            picture.draw(file, comparison, found)
    show(run, found, items, as_json)
    for note in (shortfalls := missed(found, minimum, maximum)):
        run.note(note)
    return 1 if shortfalls else 0


def _checked(original, recalled, pair, fragment, plot, rows, where, **_):
    """(view, file, rows) of the --plot; UsageError for options that do not go together."""
    if [original, recalled, fragment].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    if fragment and pair == "name":
        raise click.UsageError("--fragment pairs by order: leave out --pair name")
    view, plot = viewed(plot)
    if click.get_current_context().get_parameter_source("rows") != click.core.ParameterSource.COMMANDLINE:
        rows = None
    if rows and not plot:
        raise click.UsageError("--rows is for the --plot")
    missing = where == "missing"
    if view in ("pca", "umap") and (rows or fragment) and not missing:
        raise click.UsageError(f"--rows and --fragment are for --plot sheet:FILE, not for {view}")
    if missing and not fragment:
        raise click.UsageError("--where missing needs the fragments: --fragment FILE")
    if fragment and not (plot or missing):
        raise click.UsageError("--fragment is for the --plot and for --where missing")
    if fragment == "-" and plot and missing:
        raise click.UsageError("--fragment - is read once: for the --plot or for --where missing")
    return view, plot, rows


def viewed(plot: str | None) -> tuple[str | None, str | None]:
    """(view, file) of a --plot: 'umap:a.png', 'a.png', or 'umap', which is 'umap:umap.png'."""
    head, _, rest = (plot or "").partition(":")
    return (head, rest or f"{head}.png") if head in ("sheet", "pca", "umap") else (None, plot)


def show(run, found, items, as_json):
    """Print what was measured, and with `items` what it is the mean of."""
    lines, rows = [], []
    for result in found:
        named = {"metric": result.metric, "name": result.name, "unit": result.unit}
        for n, v in zip(result.items, result.values) if items else ():
            lines.append(named | {"item": n, "value": float(v)})
            rows.append([result.name, results.cell(float(v)), "", "", results.cell(n)])
        means = {"mean": result.mean, "low": result.low, "high": result.high, "n": len(result.items)}
        lines.append(named | means)
        rows.append([result.name, *map(results.cell, means.values())])
    results.show(run, as_json, lines, rows, ("metric", "mean", "95 % low", "high", "items"))


def main():
    common.main(cli)
