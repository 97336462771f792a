"""The jobs of lem-els: each asks the library, writes what comes, and prints results."""

import os
from types import SimpleNamespace

import click

from ..catalogue.denoisers import COMPARED, DENOISERS
from . import common, results

SHEET = 16  # samples that a sheet shows
SEEDS = {"--calibrate": range(1000, 1008), "--against": range(100)}  # what is fitted is not what is measured
FEW = range(1000, 1002)  # seeds of rectangles, of which many are tried
FORMS = ("safetensors", "png", "jpg", "npy")


def do(job: str, run, files, options):
    """Do the job; under torchrun every process holds a part of the bank, and the first writes and speaks."""
    o = SimpleNamespace(**options, files=files, job=job, share=None, silent=False)
    o.seeds = o.seeds or (FEW if o.rectangles or o.by == "sample" else SEEDS.get(job, [0]))
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return JOBS[job](run, o)
    if job == "--prepare":
        raise click.UsageError("--prepare is work for one process; run it without torchrun")
    if "-" in (*o.bank, *(files or ("-",) * (job == "--denoise"))):
        raise click.UsageError("standard input cannot be shared by several processes; give files")
    from ..device import pick
    from ..ranks import join, leave
    from ..signal import LemError

    device = pick(o.device, float64=True)
    o.share = join("cuda" if device.startswith("cuda") else "cpu")
    o.device, o.silent = o.share.device(device), not o.share.first
    run.quiet |= o.silent
    try:
        return JOBS[job](run, o)
    except (LemError, click.UsageError):
        if not o.silent:
            raise
        return 2  # all processes meet the same files, and the first one reports it
    finally:
        leave(o.share)


def _images(run, o) -> tuple:
    how = common.how(run, **{name: getattr(o, name) for name in ("kind", "grey", "rgb", "background", "skip_bad")})
    return o.bank, o.labels, o.size, o.grey, o.key, how


def _beside(o, *more) -> list[str]:
    """What is read and does not come out again."""
    from ..media.labels import parted

    labels = parted(o.labels)[0] if o.labels else None
    return [*o.bank, *(path for path in (*more, labels, o.scales, o.network) if path)]


def _study(run, o):
    """The bank, and how it is asked."""
    from ..dreams.resources import Resources
    from ..dreams.study import Study
    from ..els.prepare import bank
    from ..els.scales import parse_sizes

    kamb = o.compat == "kamb"
    sizes = None if o.scales is None else parse_sizes(o.scales, o.steps, kamb)
    resources = Resources(o.device, o.max_memory, o.skip, o.batch, o.share, run.detail if run.verbose else None)
    words = (o.padding or "zeros").split(",")
    how = o.equivariance or "both", (words[0], words[-1])
    study = Study(bank(*_images(run, o)), sizes, o.steps, o.label, kamb, resources, *how)
    return study if o.network is None else study.like(o.network)


def _history(run, o, study) -> dict:
    names = "machine", "equivariance", "steps", "label", "compat", "skip"
    settings = {k: getattr(o, k) for k in names if getattr(o, k) is not None}
    if DENOISERS[o.machine].axes not in (("ls",) * 2, ("els",) * 2, ("bbels",) * 2):
        settings["padding"] = list(study.padding)
    return run.history(**settings, sizes=study.sizes and list(study.sizes), bank=len(study.bank))


def _pictured(o, *inputs):
    """Where samples go; refused before any work where they cannot be written there."""
    from ..media import Target

    target = Target(o.output, o.to, own=True)
    target.refuse(inputs, _beside(o))
    if target.form not in (None, *FORMS):
        sounds = "; of spectra, lem-encode --decode makes sounds of the safetensors"
        way = sounds if target.form in ("wav", "flac") else ""
        raise click.UsageError(
            f"-o {target.out}: samples do not fit a {target.form}; there are {', '.join(FORMS)}{way}"
        )
    return target


def _one_file(o, form: str, problem: str, *inputs):
    """The one file that a job writes, in this form."""
    from ..media import Target

    target = Target(o.output, form if form == "txt" else None)
    target.refuse([], _beside(o, *inputs))
    if target.folder or target.pattern or target.form not in (None, form):
        raise click.UsageError(f"-o {target.out}: {problem}")
    return target


def _keep(run, o, signals, target) -> None:
    """Write signals; a silent process only makes them."""
    from collections import deque

    from ..media import save

    deque(signals, 0) if o.silent else save(signals, target, report=run.error)


def _samples(run, o):
    from ..dreams.sample import grid

    target, study = _pictured(o), _study(run, o)
    signals = study.samples(o.machine, o.seeds, _history(run, o, study))
    signals = run.progress(signals, len(o.seeds), lines=True)
    one = not (target.folder or target.pattern) and target.form in ("png", "jpg") and len(o.seeds) > 1
    _keep(run, o, [grid(signals, study.bank)] if one else signals, target)


def _denoise(run, o):
    from ..denoise.schedule import cosine
    from ..media import load

    target = _pictured(o, *o.files)
    paths = common.named_inputs(run, o.files, None, False, None)
    signals = load(paths, batch=o.batch, key=o.key, report=run.error, coordinates=True)
    study = _study(run, o)
    denoiser, history = study.denoiser(o.machine), _history(run, o, study)
    alpha_bar = None if o.t is None else float(cosine(o.t))
    noted = []

    def answer(noisy):
        clean = denoiser(noisy, alpha_bar, history)
        if noisy.kind == "image" and noisy.data.dtype.kind == "f" and not noisy.history and not noted:
            noted.append(True)
            run.note("arrays of floats are read as x_t itself, in [-1, 1] but for noise, not as values from 0 to 1")
        return clean

    _keep(run, o, common.each(run, paths, signals, answer), target)


def _prepare(run, o):
    from dataclasses import replace

    from ..els.pieces import Pieces
    from ..els.prepare import images
    from ..media import save

    target = _one_file(o, "safetensors", "a bank is one file, as in -o digits.bank.safetensors")
    batches, more = run.progress(images(*_images(run, o), large=bool(o.patch))), {}
    if o.patch:
        pieces = Pieces(o.patch, o.hop or tuple(max(1, side // 2) for side in o.patch), o.window_fn or "rect")
        batches, more = pieces.cut(batches), {"patch": pieces.size, "hop": pieces.hop, "window": pieces.name}
    history = run.history(**more)
    save((replace(batch, history=[*batch.history, history]) for batch in batches), target)


def _calibrate(run, o):
    import numpy as np

    from ..dreams.calibrate import choose
    from ..dreams.rectangles import text as listed
    from ..dreams.whole import text as in_bands

    o.output = o.output or "-"  # text
    target, study = _one_file(o, "txt", "name one file", o.calibrate), _study(run, o)
    settings = [
        f"{k} {getattr(o, k)}" for k in ("machine", "equivariance", "steps", "label") if getattr(o, k) is not None
    ]
    settings.append(f"seeds {','.join(map(str, o.seeds))}")
    made = common.printable(f"lem-els --calibrate {o.calibrate}, bank {' '.join(o.bank)}"), ", ".join(settings)
    if o.by == "sample":
        with run.watched(lines=True, items=False):
            choice = study.whole(o.machine, o.calibrate, o.seeds, o.sizes, o.rectangles)
        text, sizes = in_bands(choice, len(o.seeds), study.kamb, made), choice.sizes
    elif o.rectangles:
        choices = study.rectangles(o.machine, o.calibrate, o.seeds, o.sizes, o.by)
        with run.watched(lines=True, items=False):
            choices = list(choices)
        text, sizes = listed(choices, o.by, len(o.seeds), study.kamb, made), [choice.size for choice in choices]
    else:
        candidates, scores = study.calibrate(o.machine, o.calibrate, o.seeds, o.sizes, o.by)
        scores = list(run.progress(scores, len(o.seeds), lines=True))
        found = choose(np.concatenate(scores), candidates, o.by, o.monotone, study.kamb)
        text, sizes = found.text(made, study.unit), found.sizes
    if not o.silent:
        for remark in study.remarks(o.machine, o.calibrate, sizes, o.sizes):
            run.note(remark)
        _write(text, target)


def _write(text: str, target) -> None:
    from ..stream import whole_file

    if target.stdout:
        for line in text.splitlines():
            common.emit(*line.split("\t"))
        return
    with whole_file(target.out) as file:
        file.write(text.encode())


def _against(run, o):
    from ..dreams.against import Agreement, columns, table
    from ..els.scales import fitted_on

    if o.output:
        results.picture(o.output, "-o", _beside(o, o.against))
    study = _study(run, o)
    o.machines = o.machines or COMPARED[study.bank.kind]
    if fitted := len(fitted_on(o.scales) & set(o.seeds)):
        told = f"the sizes were found on {fitted} of these {len(o.seeds)} seeds, which flatters the machine"
        run.note(f"{o.scales}: {told}; compare on others (--seeds)")
    if o.along:
        return _along(run, o, study)
    agreement, shown = Agreement(study.bank), []
    batches = study.against(o.machines, o.against, o.seeds, o.net_steps)
    for batch in run.progress(batches, len(o.seeds), lines=True):
        agreement.add(batch)
        if o.output and sum(map(len, shown)) < SHEET:
            shown.append(batch)
    if o.silent:
        return None
    for remark in agreement.remarks():
        run.note(remark)
    if o.output:
        _draw(run, o.output, *columns(shown, study.bank, SHEET), None, len(o.seeds), cell=96)
    rows = agreement.rows()
    _numbers(run, o, rows, table(rows))


def _along(run, o, study):
    from ..dreams.along import rows, table

    parts = (_Seeds(*part) for part in study.along(o.machines, o.against, o.seeds))
    found = rows([part.scores for part in run.progress(parts, len(o.seeds), lines=True)])
    if not o.silent:
        _numbers(run, o, found, table(found))


class _Seeds:
    """Scores of so many seeds, as the progress counts them."""

    def __init__(self, seeds, scores):
        self.seeds, self.scores = seeds, scores

    def __len__(self):
        return len(self.seeds)


def _numbers(run, o, rows, page) -> None:
    """Print medians with their intervals."""
    lines = [{"name": row.name} | vars(row) for row in rows]
    cells = [[results.cell(line[key]) for key in ("name", "value", "low", "high", "seeds")] for line in lines]
    results.show(run, o.as_json, lines, cells, *page)


def _explain(run, o):
    from functools import reduce

    from ..dreams.explain import Origins, columns, is_table, table
    from ..stream import save_tensors

    results.picture(o.explain, "--explain", _beside(o))
    o.output = os.path.splitext(o.explain)[0] + ".safetensors"
    if os.path.exists(o.output) and not is_table(o.output):
        way = "the table goes there, name another MAP"
        raise click.UsageError(f"{o.output}: is there already and holds something else; {way}")
    _one_file(o, "safetensors", "name one file")
    study = _study(run, o)
    batches = run.progress(study.explain(o.machine, o.seeds), len(o.seeds), lines=True)
    origins = reduce(Origins.join, batches)
    if o.silent:
        return
    save_tensors(o.output, table(origins, study.bank), {"tool": "lem-els", "history": [_history(run, o, study)]})
    pictures, notes = columns(origins.take(SHEET), study.bank)
    _draw(run, o.explain, pictures, [f"seed {s}" for s in origins.seed[:SHEET]], notes, len(origins), cell=192)
    lines = origins.lines()
    if not (o.as_json or os.isatty(1)):
        run.note(f"columns: {', '.join(lines[0])}")
    results.show(run, o.as_json, lines, [[*map(results.cell, line.values())] for line in lines], lines[0])


def _draw(run, path, pictures, names, notes, count, cell) -> None:
    from ..compare.sheet import sheet
    from ..stream import whole_file

    if count > SHEET:
        run.note(f"{path} shows {SHEET} of {count} samples")
    with whole_file(path) as file:
        sheet(pictures, file, row_names=names, notes=notes, cell=cell)


JOBS = {
    "sampling": _samples,
    "--denoise": _denoise,
    "--prepare": _prepare,
    "--calibrate": _calibrate,
    "--against": _against,
    "--explain": _explain,
}
