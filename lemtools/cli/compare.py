"""lem-compare: measure what came back."""

import os

import click

from ..catalogue.labelled import LABELLED
from ..catalogue.metrics import GROUPS, METRICS, members, named, quick, spelled, taking
from . import common, results
from . import compare_labelled as labelled
from .options import INPUT, OUTPUT, listed, written
from .types import hint

EXAMPLES = """
lem-compare photo.png recalled.png
lem-compare --metric psnr --min psnr=30 photos/ recalled/
lem-fragment --bits 3 photos/ | lem-reconstruct | lem-compare --metric all --json photos/ -
lem-compare --fragment fragments.safetensors --plot sheet.png photos/ recalled/
lem-compare --metric psnr,ssim --html report.html photos/ recalled/
lem-compare --metric boundary-mae,boundary-within@20 truth.TextGrid guess.TextGrid
lem-compare --metric nearest,memorised,mosaic --train store.safetensors faces/ faces/
lem-compare --labels labels.tsv --by emotion --leave speaker --cross sex acted.safetensors synthetic.safetensors
"""
VIEWS = ("sheet", "pca", "umap")
USUAL = [" ".join(quick(kind)) for kind in ("image", "audio", "tokens", "embedding")]
LIMITED = tuple(f"{row.name}=" for row in METRICS.rows if not row.k)


class Threshold(click.ParamType):
    """NAME=VALUE of one metric."""

    name = "threshold"

    def convert(self, value, param, ctx):
        metrics, _, number = value.partition("=")
        try:
            number = float(number)
        except ValueError:
            number = float("nan")
        if number != number:  # nothing is above or below NaN
            self.fail(f"{value!r} is not NAME=VALUE, as in psnr=30", param, ctx)
        (name, *more) = spelled(metrics)
        if more or name in GROUPS:
            raise click.UsageError(f"--min and --max take one metric each, not {metrics}")
        return name, number


@common.command("lem-compare", EXAMPLES)
@click.argument("original", metavar="ORIGINAL", type=click.Path())
@click.argument("recalled", metavar="[RECALLED]", required=False, type=click.Path())
@common.option(
    "--metric",
    "What to measure: {of}; all: every metric of single items that suits the kind; geometry: every metric of "
    "embeddings. Upper or lower case; several are separated by commas. With --labels it picks among what that measures.",
    of=METRICS,
    words=(*GROUPS, *(name for name in LABELLED if name not in METRICS)),
    usual=f"{', '.join(USUAL[:-1])}, or {USUAL[-1]}, by kind, or all of boundaries",
    multiple=True,
    metavar="NAME",
)
@common.option(
    "--min",
    "Exit with 1 if the mean is lower.",
    Threshold(),
    param="minimum",
    words=LIMITED,
    multiple=True,
    metavar="NAME=VALUE",
)
@common.option(
    "--max",
    "Exit with 1 if the mean is higher.",
    Threshold(),
    param="maximum",
    words=LIMITED,
    multiple=True,
    metavar="NAME=VALUE",
)
@common.option(
    "--pair",
    "Match items by order or by name; auto is by order and checks the names.",
    ("auto", "order", "name"),
    default="auto",
)
@common.option(
    "--peak",
    f"Range of the values, for {listed(taking('peak'))}.",
    "number",
    low=0,
    open=("low",),
    usual="255 or 1 for images, 1 for sound",
    metavar="P",
)
@common.option(
    "--train",
    f"What a model was trained on, for {listed(taking('train'))}: files or folders; a single safetensors or npy file "
    "stays on disk.",
    multiple=True,
    metavar="STORE",
    file=True,
)
@common.option(
    "--judge",
    f"A model of lem-train classifier that is shown both sides, for {listed(taking('judge'))}; with --labels, which is right. "
    "Where no --metric is named, these are measured.",
    metavar="MODEL",
    file=True,
)
@common.option(
    "--rdm",
    f"What subjects' brains, or anyone else, say of how unlike these items are, for {listed(taking('rdm'))}: a npy file [S, N, N] or "
    "[S, sessions, N, N] of S subjects and N items, in their order.",
    metavar="FILE",
    file=True,
)
@common.option(
    "--where",
    f"Measure all elements, or only those that the --fragment does not hold exactly ({', '.join(taking('where', 'gaps'))}).",
    ("all", "missing"),
    default="all",
)
@common.option(
    "--centre",
    "Take the mean of the originals from both sides, of embeddings whose widths differ each side's own: cosines are then about it.",
    "flag",
)
@common.option(
    "--fragment", "The fragments, for a column of the sheet and for --where missing.", metavar="FILE", file=True
)
@labelled.options
@common.chain(*(common.option(source, section=INPUT) for source in common.LOOKS))
@common.option("--items", "Print every item's value before the means.", "flag", section=OUTPUT)
@common.option("--json", "Print JSON Lines.", "flag", param="as_json", section=OUTPUT)
@common.option(
    "--plot",
    "Draw a picture (PNG). Embeddings are drawn as points on the two principal axes of the originals, with the spectra "
    "of both sets (pca); everything else as a contact sheet of originals, fragments, recalled items and differences "
    "(sheet), sounds and spectra as spectrograms. VIEW picks one: sheet, pca or umap; without a FILE it writes VIEW.png. A UMAP picture is not evidence.",
    metavar="[VIEW:]FILE",
    file=True,
    section=OUTPUT,
)
@common.option(
    "--html",
    "Write a page with the numbers, the contact sheet and the spectra of both sides: one file that needs no other.",
    metavar="FILE",
    file=True,
    section=OUTPUT,
)
@common.option("--rows", "Rows of the contact sheet.", "whole", low=1, default=8, metavar="N", section=OUTPUT)
def cli(
    run, original, recalled, metric, minimum, maximum, pair, peak, train, centre, judge, rdm, items, as_json, **drawn
):
    """Compare ORIGINAL with RECALLED: files, folders or streams (- is standard input).

    Prints NAME, mean, the two ends of its 95 % interval over items, and the number of items, separated by tabs.
    With --labels one or two sets of embeddings are compared by the labels of their items, and each line is SET, NAME,
    value, the ends of its 95 % interval over what --leave names, a count, the value of shuffled labels, p and a verdict.
    """
    by_label = {source.name: drawn.pop(source.name) for source in labelled.OPTIONS}
    looks = {source.name: drawn.pop(source.name) for source in common.LOOKS}
    if labelled.check(by_label, recalled, metric):
        common.one_thread()
        files = [original] if recalled is None else [original, recalled]
        return labelled.run(run, files, metric, common.how(run, **looks), as_json=as_json, **by_label)
    usual = quick("judged" if by_label["labels"] else "seen") if judge and not metric else ()
    asked = spelled([*metric, *usual, *(name for name, _ in (*minimum, *maximum))])
    fragment, missing, wanted = _checked(original, recalled, pair, **drawn)
    rows = [named(key)[0] for word in asked for key in (members(word) if word in GROUPS else [word])]
    for word, value in (("train", train), ("judge", judge), ("rdm", rdm)):
        if value and not {row.name for row in rows} & set(taking(word)):
            raise click.UsageError(f"--{word} is for --metric {', '.join(taking(word))}")
    if not any(row.of_set for row in rows):  # these are large matrix products
        common.one_thread()
    from ..compare import Comparison, centred, missed
    from ..compare import pair as paired
    from ..compare.subjects import subjects
    from ..media import load, store
    from ..media.labels import given_labels
    from ..media.store import nature

    how = common.how(run, whole=True, **looks)
    known = given_labels(by_label["labels"]) if by_label["labels"] else None
    court = _court(judge, known) if judge else None
    if usual:
        asked.append(f"deep@{court.judge.net.count}")
    given = {
        "train": store(list(train), None, how) if train else None,
        "rdm": subjects(rdm),
        "judge": court,
        "classes": known,
    }
    comparison = Comparison(asked, peak=peak, **given)
    trained = nature(list(train), None, how) if train else None
    inputs = [original, recalled, *([fragment] if fragment else [])]
    pictures = {path: _picture(option, path, inputs, **more) for option, path, more in wanted}
    sides = [load([path], how) for path in (original, recalled)]
    pairs = paired(*sides, by=pair, fragments=load([fragment]) if missing else None, trained=trained)
    pairs = centred(pairs) if centre else pairs
    for both in run.progress(pairs, getattr(sides[0], "total", None)):
        for picture in pictures.values():
            picture.add(both, comparison)
        comparison.add(both)
    if court is not None:
        court.check()
    found = comparison.results()
    for note in comparison.notes(found):
        run.note(note)
    if court is not None and (remark := court.judge.remark(court.judge.fitted // 2)):
        run.note(remark)
    for path, picture in pictures.items():
        from ..stream import whole_file

        with whole_file(path) as file:
            picture.draw(file, comparison, found)
    show(run, found, items, as_json)
    for note in (shortfalls := missed(found, minimum, maximum)):
        run.note(note)
    return 1 if shortfalls else 0


def _court(path: str, known):
    """What asks a judge (compare.judged.Court). known: labels, or None."""
    from ..compare.judged import Court
    from ..nets.judge import Judge

    return Court(Judge(path), known)


def _checked(original, recalled, pair, fragment, where, plot, html, rows):
    """(fragment, whether only missing elements count, what is drawn: (option, path, how)). UsageError for a conflict."""
    missing, sheet = where == "missing", {}
    head, _, rest = (plot or "").partition(":")
    if plot and rest and head not in VIEWS and "/" not in head:
        way = f"there are {', '.join(VIEWS)}{hint(head, VIEWS)}; for a file of that name write ./{plot}"
        raise click.UsageError(f"--plot {plot}: no view {head!r}; {way}")
    view, plot = (head, rest or f"{head}.png") if head in VIEWS else (None, plot)
    if "rows" in written(click.get_current_context()):
        sheet["rows"] = rows
    if [original, recalled, fragment].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    if fragment and pair == "name":
        raise click.UsageError("--fragment pairs by order: leave out --pair name")
    if sheet and not (plot or html):
        raise click.UsageError("--rows is for the --plot and for --html")
    if view in ("pca", "umap") and (sheet or fragment) and not (missing or html):
        raise click.UsageError(f"--rows and --fragment are for --plot sheet:FILE, not for {view}")
    if missing and not fragment:
        raise click.UsageError("--where missing needs the fragments: --fragment FILE")
    if fragment and not (plot or html or missing):
        raise click.UsageError("--fragment is for the --plot, for --html and for --where missing")
    if fragment == "-" and bool(plot) + bool(html) + missing > 1:
        raise click.UsageError("--fragment - is read once: for the --plot, for --html or for --where missing")
    if plot and html and os.path.realpath(plot) == os.path.realpath(html):
        raise click.UsageError(f"--plot and --html would both write {plot}")
    sheet["fragment"] = fragment
    drawn = [("--plot", plot, {"view": view, **sheet})] if plot else []
    return fragment, missing, [*drawn, *([("--html", html, sheet)] if html else [])]


def _picture(option, path, inputs, fragment=None, **how):
    """A Plot, or for --html a Report. UsageError where the path cannot be one."""
    from ..compare.plot import Plot
    from ..media import load

    results.picture(path, option, inputs)
    fragments = load([fragment]) if fragment else None
    if option == "--plot":
        return Plot(fragments=fragments, **how)
    from ..compare.report import Report

    return Report(inputs[:2], fragments=fragments, **how)


def show(run, found, items, as_json):
    """Print what was measured, and with `items` what it is the mean of."""
    lines, rows, page, single = [], [], [], []
    for result in found:
        what = {"metric": result.metric, "name": result.name, "unit": result.unit}
        means = {"mean": result.mean, "low": result.low, "high": result.high, "n": len(result.items)}
        for item, value in zip(result.items, map(float, result.values)) if items else ():
            lines.append(what | {"item": item, "value": value})
            rows.append([result.name, results.cell(value), "", "", results.cell(item)])
            single.append([result.name, results.cell(item), results.cell(value)])
        lines.append(what | means)
        rows.append([result.name, *map(results.cell, means.values())])
        mean, *ends, n = map(results.cell, means.values())
        page.append([result.name, mean, result.unit, *ends, n, result.better])
    heads = ("metric", "mean", "unit", "95 % low", "95 % high", "items", "better")
    before = [(("metric", "item", "value"), single)] if items else []
    results.show(run, as_json, lines, rows, heads, page, before)


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
