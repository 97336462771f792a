"""What lem-els does once its options are read: ask the library, write what comes, print results."""

import click

from . import common

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
    from ..denoise.device import pick
    from ..signal import LemError
    from ..train.parallel import join, leave

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
    from ..els import scales
    from ..els.prepare import bank
    from ..els.study import Study

    found, kamb = None, options["compat"] == "kamb"
    if sizes and options["scales"] is not None:
        found = scales.read(options["scales"], options["steps"], kamb)
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
    target.refuse([*options["bank"], *(path for path in (*inputs, options["labels"], options["scales"]) if path)])
    return target


def _history(run, options, asked) -> dict:
    told = {
        name: options[name] for name in ("machine", "steps", "label", "compat", "skip") if options[name] is not None
    }
    return run.history(**told, sizes=asked.sizes and list(asked.sizes), bank=len(asked.bank))


def _samples(run, files, **options):
    from ..els.sample import grid

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

    def answer(noisy):
        clean = denoiser(noisy, alpha_bar, history)
        if noisy.data.dtype.kind == "f" and not noisy.history and noisy.data.min() >= 0.5:
            run.note("no x_t is below 0, yet arrays of floats are x_t itself, from -1 to 1 and beyond, not values from 0")
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
    from ..media.save import whole_file

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
    from ..els.against import Comparison

    target = _sheet(options, [options["against"]]) if options["output"] else None
    seeds = options["seeds"] or SEEDS["against"]
    comparison, shown = Comparison(), []
    asked = study(run, options).against(options["machines"], options["against"], seeds, options["net_steps"])
    for batch in run.progress(asked):
        comparison.add(batch)
        if target and sum(map(len, shown)) < SHEET:
            shown.append(batch)
    if silent(options):
        return
    rows = comparison.rows()
    if target:
        from ..els.against import columns

        pictures, names = columns(shown, SHEET)
        _draw(run, target.out, pictures, names, None, len(seeds), cell=96)
    lines = [{"name": f"{row.metric}[{row.machine},{row.net_steps}]"} | vars(row) for row in rows]
    names = ["machine", "net steps", *dict.fromkeys(row.metric for row in rows)]
    table: dict[tuple, dict] = {}
    for row in rows:
        ends = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
        cells = table.setdefault((row.machine, row.net_steps), {})
        cells[row.metric] = f"{row.value:.3f}{ends}"
    page = [[*map(str, key), *(cells.get(name, "-") for name in names[2:])] for key, cells in table.items()]
    _show(run, options["as_json"], lines, ("name", "value", "low", "high", "seeds"), (names, page))


def _sheet(options, inputs):
    target = _target(options, inputs, "png")
    if target.stdout or target.folder or target.pattern:
        raise click.UsageError(f"{target.out}: name one PNG file; standard output holds the numbers")
    return target


def _draw(run, path, pictures, names, notes, count, cell=256) -> None:
    from ..compare.sheet import sheet
    from ..media.save import whole_file

    if count > SHEET:
        run.note(f"{path} shows {SHEET} of {count} samples")
    with whole_file(path) as file:
        sheet(pictures, file, row_names=names, notes=notes, cell=cell)


def _explain(run, files, **options):
    import os
    from functools import reduce

    from safetensors.numpy import save as packed

    from ..els.explain import Origins, columns, table
    from ..media.save import whole_file

    options["output"] = options["explain"]
    target = _sheet(options, [])
    beside = os.path.splitext(target.out)[0] + ".safetensors"
    if beside == target.out:
        raise click.UsageError(f"--explain {beside}: the table goes there; name a PNG file")
    if os.path.exists(beside) and not _is_table(beside):
        raise click.UsageError(f"{beside}: is there already and holds something else; the table goes there, name another MAP")
    options["output"] = beside
    _target(options, [])
    asked, seeds = study(run, options), options["seeds"] or [0]
    origins = reduce(Origins.join, run.progress(asked.explain(options["machine"], seeds)))
    if silent(options):
        return
    history = _history(run, options, asked)
    with whole_file(beside) as file:
        import json

        file.write(packed(table(origins, asked.bank), {"tool": "lem-els", "history": json.dumps([history])}))
    pictures, notes = columns(origins.take(SHEET), asked.bank)
    _draw(run, target.out, pictures, [f"seed {seed}" for seed in origins.seed[:SHEET]], notes, len(origins), cell=192)
    facts = origins.facts()
    lines = [{"name": f"seed-{seed}"} | each for seed, each in zip(origins.seed, facts)]
    known = {key: [each[key] for each in facts if each[key] == each[key]] for key in facts[0]}
    lines.append({"name": "mean"} | {key: sum(v) / len(v) if v else float("nan") for key, v in known.items()})
    _show(run, options["as_json"], lines, tuple(lines[0]))


def _is_table(path: str) -> bool:
    """Whether a file is what --explain wrote before."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("tool") == "lem-els"
    except (OSError, SafetensorError):
        return False


def _show(run, as_json: bool, lines: list[dict], keys, table=None) -> None:
    """Results: JSON Lines; the values of `keys` parted by tabs; or a table at a terminal, (heads, rows) if given."""
    import os

    if as_json:
        import json

        if any(isinstance(v, float) and not abs(v) < float("inf") for line in lines for v in line.values()):
            run.note("undefined values are null in JSON")
        for line in lines:
            click.echo(json.dumps(common.finite(line)))
        return
    rows = [
        ["-" if line[k] is None else f"{line[k]:.7g}" if isinstance(line[k], float) else str(line[k]) for k in keys]
        for line in lines
    ]
    if not os.isatty(1):
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    heads, rows = table or (keys, rows)
    page = Table(*heads)
    for row in rows:
        page.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(page)


JOBS = {
    "sample": _samples,
    "denoise": _denoise,
    "prepare": _prepare,
    "calibrate": _calibrate,
    "against": _against,
    "explain": _explain,
}
