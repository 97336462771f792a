"""What lem-els does once its options are read: ask the library, write what comes, print results."""

import click

from . import common, results

SHEET = 16  # samples that a sheet shows
SEEDS = {"calibrate": range(1000, 1008), "against": range(100)}  # what is fitted is not what is measured


def do(job: str, run, files, options):
    """Do the job; under torchrun every process holds a part of the bank, and the first writes and speaks."""
    import os

    options["share"] = None
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return JOBS[job](run, files, **options)
    if job == "prepare":
        raise click.UsageError("--prepare is work for one process; run it without torchrun")
    from ..device import pick
    from ..ranks import join, leave
    from ..signal import LemError

    if "-" in (*options["bank"], *(files or ("-",) * (job == "denoise"))):
        raise click.UsageError("standard input cannot be shared by several processes; give files")
    try:
        device = pick(options["device"], float64=True)
    except ValueError as error:
        raise click.UsageError(f"--device {options['device']}: {error}") from error
    ranks = join("cuda" if device.startswith("cuda") else "cpu")
    options |= {"share": ranks, "device": ranks.device(device)}
    run.quiet |= not ranks.first
    try:
        return JOBS[job](run, files, **options)
    except (LemError, click.UsageError):
        if ranks.first:
            raise
        return 2  # all processes meet the same files, and the first one tells
    finally:
        leave(ranks)


def silent(options) -> bool:
    """Whether another process writes and speaks for this one."""
    return options["share"] is not None and not options["share"].first


def keep(signals, target, options) -> None:
    """Write signals; a silent process only makes them."""
    from collections import deque

    from ..media import save

    if silent(options):
        deque(signals, 0)
    else:
        save(signals, target)


def study(run, options, sizes: bool = True):
    """The bank, and how it is asked."""
    from ..dreams.study import Study
    from ..els import scales
    from ..els.prepare import bank

    found, kamb = None, options["compat"] == "kamb"
    if sizes and options["scales"] is not None:
        found = scales.parse_sizes(options["scales"], options["steps"], kamb)
    return Study(
        bank(*_bank(options)),
        found,
        kamb=kamb,
        memory=options["max_memory"],
        tell=run.detail if run.verbose else None,
        **{name: options[name] for name in ("steps", "label", "skip", "device", "batch", "share")},
    )


def _bank(options) -> tuple:
    return options["bank"], options["labels"], options["size"], options["grey"], options["key"]


def _target(options, inputs, to=None, own: bool = False):
    """Where the output goes; refused before any work where it cannot be written."""
    from ..media import Target

    target = Target(options["output"], to, own)
    target.refuse(_inputs(options, *inputs))
    return target


def _inputs(options, *more) -> list[str]:
    """Whatever is read."""
    return [*options["bank"], *(path for path in (*more, options["labels"], options["scales"]) if path)]


def _history(run, options, asked) -> dict:
    told = {
        name: options[name] for name in ("machine", "steps", "label", "compat", "skip") if options[name] is not None
    }
    return run.history(**told, sizes=asked.sizes and list(asked.sizes), bank=len(asked.bank))


def _samples(run, files, **options):
    from ..dreams.sample import grid

    target = _target(options, [], options["to"], own=True)
    _pictured(target, ("safetensors", "png", "jpg", "npy"))
    asked, seeds = study(run, options), options["seeds"] or [0]
    signals = run.progress(asked.samples(options["machine"], seeds, _history(run, options, asked)))
    one = not (target.folder or target.pattern)
    keep([grid(signals)] if one and target.form in ("png", "jpg") and len(seeds) > 1 else signals, target, options)


def _pictured(target, forms) -> None:
    if target.form not in (None, *forms):
        raise click.UsageError(f"-o {target.out}: images do not fit a {target.form}; there are {', '.join(forms)}")


def _denoise(run, files, **options):
    from ..denoise.schedule import cosine
    from ..media import load

    target = _target(options, files, options["to"], own=True)
    _pictured(target, ("safetensors", "png", "jpg", "npy"))
    paths = common.named_inputs(run, files, None, False, None)
    signals = load(paths, batch=options["batch"], key=options["key"], report=run.error, coordinates=True)
    asked = study(run, options)
    denoiser, history = asked.denoiser(options["machine"]), _history(run, options, asked)
    alpha_bar = None if options["t"] is None else float(cosine(options["t"]))

    told = []

    def answer(noisy):
        clean = denoiser(noisy, alpha_bar, history)
        if noisy.data.dtype.kind == "f" and not noisy.history and not told:
            told.append(True)
            run.note("arrays of floats are read as x_t itself, in [-1, 1] but for noise, not as values from 0 to 1")
        return clean

    keep(common.each(run, paths, signals, answer), target, options)


def _prepare(run, files, **options):
    from dataclasses import replace

    from ..els.prepare import images
    from ..media import save

    target = _target(options, [])
    if target.folder or target.pattern or target.form not in (None, "safetensors"):
        raise click.UsageError(f"-o {target.out}: a bank is one file, as in -o digits.bank.safetensors")
    history = run.history()
    save((replace(batch, history=[history]) for batch in run.progress(images(*_bank(options)))), target)


def _calibrate(run, files, **options):
    from ..stream import whole_file

    options["output"] = options["output"] or "-"  # text
    target = _target(options, [options["calibrate"]], "txt")
    if target.folder or target.pattern:
        raise click.UsageError(f"-o {target.out}: name one file")
    seeds = options["seeds"] or SEEDS["calibrate"]
    found = study(run, options, sizes=False).calibrate(
        options["machine"], options["calibrate"], seeds, options["sizes"], options["by"], options["monotone"]
    )
    if silent(options):
        return
    told = (f"{name} {options[name]}" for name in ("machine", "steps", "label") if options[name] is not None)
    used = f"seeds {','.join(map(str, seeds))}"
    bank = f"bank {' '.join(options['bank'])}"
    text = found.text([f"lem-els --calibrate {options['calibrate']}, {bank}", ", ".join([*told, used])])
    if target.stdout:
        click.echo(text, nl=False)
        return
    with whole_file(target.out) as file:
        file.write(text.encode())


def _against(run, files, **options):
    from ..dreams.against import Agreement

    sheet = options["output"]
    if sheet:
        results.picture(sheet, "-o", _inputs(options, options["against"]))
    seeds = options["seeds"] or SEEDS["against"]
    agreement, shown = Agreement(), []
    asked = study(run, options).against(options["machines"], options["against"], seeds, options["net_steps"])
    for batch in run.progress(asked):
        agreement.add(batch)
        if sheet and sum(map(len, shown)) < SHEET:
            shown.append(batch)
    if silent(options):
        return
    rows = agreement.rows()
    if sheet:
        from ..dreams.against import columns

        pictures, names = columns(shown, SHEET)
        _draw(run, sheet, pictures, names, None, len(seeds), cell=96)
    lines = [{"name": f"{row.metric}[{row.machine},{row.net_steps}]"} | vars(row) for row in rows]
    heads = ["machine", "net steps", *dict.fromkeys(row.metric for row in rows)]
    table: dict[tuple, dict] = {}
    for row in rows:
        ends = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
        cells = table.setdefault((row.machine, row.net_steps), {})
        cells[row.metric] = f"{row.value:.3f}{ends}"
    page = [[*map(str, key), *(cells.get(name, "-") for name in heads[2:])] for key, cells in table.items()]
    told = [[results.cell(line[key]) for key in ("name", "value", "low", "high", "seeds")] for line in lines]
    results.show(run, options["as_json"], lines, told, heads, page)


def _draw(run, path, pictures, names, notes, count, cell=256) -> None:
    from ..compare.sheet import sheet
    from ..stream import whole_file

    if count > SHEET:
        run.note(f"{path} shows {SHEET} of {count} samples")
    with whole_file(path) as file:
        sheet(pictures, file, row_names=names, notes=notes, cell=cell)


def _explain(run, files, **options):
    import os
    from functools import reduce

    from ..dreams.explain import Origins, columns, table
    from ..stream import save_tensors

    chart = options["explain"]
    results.picture(chart, "--explain", _inputs(options))
    beside = os.path.splitext(chart)[0] + ".safetensors"
    if os.path.exists(beside) and not _is_table(beside):
        way = "the table goes there, name another MAP"
        raise click.UsageError(f"{beside}: is there already and holds something else; {way}")
    options["output"] = beside
    _target(options, [])
    asked, seeds = study(run, options), options["seeds"] or [0]
    origins = reduce(Origins.join, run.progress(asked.explain(options["machine"], seeds)))
    if silent(options):
        return
    history = _history(run, options, asked)
    save_tensors(beside, table(origins, asked.bank), {"tool": "lem-els", "history": [history]})
    pictures, notes = columns(origins.take(SHEET), asked.bank)
    _draw(run, chart, pictures, [f"seed {seed}" for seed in origins.seed[:SHEET]], notes, len(origins), cell=192)
    facts = origins.facts()
    lines = [{"name": f"seed-{seed}"} | each for seed, each in zip(origins.seed, facts)]
    known = {key: [each[key] for each in facts if each[key] == each[key]] for key in facts[0]}
    lines.append({"name": "mean"} | {key: sum(v) / len(v) if v else float("nan") for key, v in known.items()})
    results.show(run, options["as_json"], lines, [[*map(results.cell, line.values())] for line in lines], lines[0])


def _is_table(path: str) -> bool:
    """Whether a file is what --explain wrote before."""
    from ..signal import LemError
    from ..stream import opened

    try:
        with opened(path, "np") as file:
            return (file.metadata() or {}).get("tool") == "lem-els"
    except LemError:
        return False


JOBS = {
    "sample": _samples,
    "denoise": _denoise,
    "prepare": _prepare,
    "calibrate": _calibrate,
    "against": _against,
    "explain": _explain,
}
