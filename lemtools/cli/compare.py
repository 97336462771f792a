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


class Threshold(click.ParamType):
    """NAME=VALUE."""

    name = "threshold"

    def convert(self, value, param, ctx):
        name, _, number = value.partition("=")
        try:
            if (number := float(number)) == number:  # nothing is above or below NaN
                return name, number
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
def cli(
    run,
    original,
    recalled,
    metric,
    minimum,
    maximum,
    pair,
    peak,
    train,
    where,
    items,
    as_json,
    plot,
    rows,
    fragment,
    key,
    batch,
):
    """Compare ORIGINAL with RECALLED: files, folders or streams (- is standard input).

    Prints NAME, mean, the two ends of its 95 % interval over items, and the number of items, parted by tabs.
    """
    if [original, recalled, fragment].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    if fragment and pair == "name":
        raise click.UsageError("--fragment pairs by order: leave out --pair name")
    view, plot = viewed(plot)
    source = click.get_current_context().get_parameter_source("rows")
    of_sheet = fragment or source == click.core.ParameterSource.COMMANDLINE
    if not plot and source == click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--rows is for the --plot")
    missing = where == "missing"
    if view in ("pca", "umap") and of_sheet and not missing:
        raise click.UsageError(f"--rows and --fragment are for --plot sheet:FILE, not for {view}")
    if missing and not fragment:
        raise click.UsageError("--where missing needs the fragments: --fragment FILE")
    if fragment and not (plot or missing):
        raise click.UsageError("--fragment is for the --plot and for --where missing")
    if fragment == "-" and plot and missing:
        raise click.UsageError("--fragment - is read once: for the --plot or for --where missing")
    small = ("all", "mse", "mae", "max", "psnr", "ssim", "ms-", "gmsd", "snr", "si-", "lsd", "nmse", "sqnr", "accuracy")
    if all(m.startswith((*small, "bits")) or m == "cosine" for m in metric):  # the others are large matrix products
        common.one_thread()
    from ..compare import GROUPS, METRICS, Comparison, named
    from ..compare.pairs import pair as paired
    from ..media import load, store
    from ..signal import LemError
    from ..stream import whole_file

    thresholds = [(name, value, 1) for name, value in minimum] + [(name, value, -1) for name, value in maximum]
    for name, _, _ in thresholds:
        if name in GROUPS:
            raise click.UsageError(f"--min and --max take one metric each, not {name}")
    asked = list(dict.fromkeys([*metric, *(name for name, _, _ in thresholds)])) or None
    if train and not any(METRICS[named(m)[0]].train for m in asked or () if m not in GROUPS):
        able = ", ".join(name for name, known in METRICS.items() if known.train)
        raise click.UsageError(f"--train is for --metric {able}")
    memories = store(list(train)) if train else None
    comparison, sheet = Comparison(asked, peak, memories), None
    if plot:
        from ..compare import plot as pictures

        results.picture(plot, "--plot", [original, recalled, *([fragment] if fragment else [])])
    sides = [load([path], key=key, batch=batch) for path in (original, recalled)]
    broken = load([fragment]) if missing else None
    for batch_of_pairs in run.progress(paired(*sides, by=pair, fragments=broken)):
        if plot and comparison.kind is None:
            view = pictures.view(view, batch_of_pairs.kind, sheet=bool(of_sheet))
            comparison.keep = view != "sheet"
            if view == "sheet":
                sheet = pictures.Plot(rows, load([fragment]) if fragment else None)
        comparison.add(batch_of_pairs)
        if sheet:
            sheet.add(batch_of_pairs)
    found = comparison.results()
    for name, reason in comparison.left_out.items():
        run.note(f"{name} is left out: {reason}")
    if plot and not sheet:
        from ..compare.scatter import draw

        try:
            spectra = comparison.spectra()
        except ValueError as error:
            raise LemError(f"--plot {view}: {error}") from error
        with whole_file(plot) as file:
            draw(file, spectra, view)
    if sheet:
        with whole_file(plot) as file:
            # under the pictures, decibels before raw errors
            each = [r for r in found if len(r.values)]
            told = next((r for r in each if r.unit == "dB"), found[0])
            values = dict(zip(told.items, told.values))
            notes = {
                "recalled": [f"{told.name} {values[n]:.4g} {told.unit}" if n in values else "" for n in sheet.names]
            }
            sheet.draw(file, notes)
    most = max(len(result.items) for result in found)
    for result in found:
        if len(result.items) < most:
            run.note(f"{result.name}: {len(result.items)} of {most} items; it cannot take the others (too small)")
    show(run, found, items, as_json)
    means = {result.metric: result.mean for result in found}
    missed = [(n, v, s) for n, v, s in thresholds if not s * (means[n] - v) >= 0]
    for name, value, sign in missed:
        run.note(f"{name} is {means[name]:.6g}, {'below' if sign > 0 else 'above'} {value:g}")
    return 1 if missed else 0


def viewed(plot: str | None) -> tuple[str | None, str | None]:
    """(view, file) of what was given to --plot: 'umap:a.png', 'a.png', or 'umap', which is 'umap:umap.png'."""
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
