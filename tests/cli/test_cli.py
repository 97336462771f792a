"""The commands as a user meets them: options, order, start-up, results, the README's pipeline."""

import importlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time

import click
import numpy as np
import pytest
import soundfile
from PIL import Image

from helpers.commands import TOOLS, fronts, lem, lem_fork
from lemtools import __version__, stream
from lemtools.cli.fragment import ordered

each_tool = pytest.mark.parametrize("tool", TOOLS)

# What users' scripts rely on. A change here is a change of the public interface: say so in the CHANGELOG.
COMMON = "--debug --help --quiet --verbose --version -h -q -v"
LOOKS = "--background --batch --grey --key --kind --max-bytes --resize --rgb --skip-bad"
INPUT = f"{LOOKS} --files-from --sample --sample-name"
OUTPUT = "--output --skip-existing --to -o"
OPTIONS = {
    "fragment": f"{COMMON} {INPUT} {OUTPUT} --bits --clamp --crop --downsample --keep-dims --lowpass --mask --mask-shape --noise "
    "--block --device --quantizer --rotate --scale --seed --shard --tensors",
    "reconstruct": f"{COMMON} {INPUT} {OUTPUT} --answer --centred --labels --device --memory --memory-key --memory-model --method --model --prior "
    "--label --lost --more --samples --seed --shard --shrink --sigma --steps --temperature --tile --top --unaware "
    "--top-p --typical --beam --right --order --codec",
    "compare": f"{COMMON} {LOOKS} --fragment --html --items --json --max --metric --min --pair --peak --plot --rows "
    "--train --judge --rdm --where --labels --by --leave --cross --neutral --features --control --bound --same --centre",
    "encode": f"{COMMON} {INPUT} {OUTPUT} --beam --codes --cosine --decode --device --dims --encoder --fit --flat --gain-shape "
    "--groups --hf --json --layer --lines --lm --model --patch-back --seed --shard --size --stages --validate --vocab --weights --whiten "
    "--window --n-fft --hop --window-fn --compress --mono --resample --length --rms --middle --preset --bands --coefficients --voices --lowest "
    "--text --phones --dict --language --alphabet --refine --fallback --onto --map --pairs --more --onto-more --unpaired --common --add --from --to-space --bases --translate --from-lm --from-layer --from-codec --codec",
    "train": f"{COMMON} --aligned --arch --augment --batch --beam --beta2 --card --chunk --clip --code-bits --codec --codes --coding --compile --config --context "
    "--cosine --crop --gain-shape --gates --runs --groups --stages --whiten --data --decay --depth --device --dry-run --dtype --ema --flops --fragment --holdout --key --labels --log-file --lr --on --order --preset "
    "--output -o --padding --pictures --predict --save-every --keep-every --seed --init --set --steps --target --teacher --validate --warmup --weight-decay "
    "--weighting --weights --width --workers --rows --places --noise-injection --pushforward --own-rollouts --drift --levels --kind --resize --grey --rgb --background --skip-bad "
    "--encoder --n-fft --hop --window-fn --rms --middle --compress --mono --resample --length --voices --lowest --bands --coefficients "
    "--embedding --ratio --table --head --thoughts --thoughts-by --thoughts-carry --longest --asked --positions --pause --states --onto --pairs --more --onto-more --unpaired --reader --reader-layer",
    "els": f"{COMMON} --along --equivariance --hop --network --padding --patch --rectangles --window-fn --against --bank --batch --by --calibrate --compat --denoise --device --explain --grey --json --key "
    "--label --labels --machine --machines --max-memory --monotone --net-steps --output -o --prepare --scales --seeds --size "
    "--sizes --skip --steps --t --to --background --kind --rgb --skip-bad",
    "thermalize": f"{COMMON} {OUTPUT} --gate --gate-model --gate-noise --gate-neighbours --always --budget --candidate --check --claims --control --json --report --solver --window --corrector --denoise-steps --device --every --exec --false-fire --key --kind "
    "--log --max-bytes --max-calls --memory --memory-key --memory-rows --model --neighbours --no-clean --noise --previous --ridge --rollout "
    "--rows --seed --steps --stop --strict --patch --symmetry --threshold --timeout --codebook --codebook-key --grid --keep-margin "
    "--logits --temperature --top --top-p --typical --prepare --drifted --lead --gate --gate-neighbours --gate-noise",
    "info": f"{COMMON} --json",
}
CHOICES = {
    ("fragment", "quantizer"): "uniform lloyd-max trellis mu-law absmax zero-point nf4",
    ("fragment", "scale"): "full peak rms",
    ("fragment", "sample_name"): "kodim23 rooster",
    ("fragment", "to"): "safetensors png jpg wav flac txt textgrid lab json npy",
    (
        "reconstruct",
        "method",
    ): "auto decode zero replicate linear inpaint smooth least-squares recall gaussian net ensemble dream continue fill ngram power",
    ("compare", "pair"): "auto order name",
    ("compare", "where"): "all missing",
    (
        "encode",
        "encoder",
    ): "patches pca text kmer rvq translate token-ae stft morlet mel log-mel mfcc voice prosody phones efficientnet minilm activations features thoughts",
    ("encode", "map"): "auto procrustes cca ridge relative mlp",
    ("encode", "to"): "safetensors png jpg wav flac txt textgrid lab json npy",
    (
        "train",
        "recipe",
    ): "feedforward recurrent autoregressive diffusion classifier emulator frames corrector thermalizer phones lm token-ae translate rvq",
    ("train", "padding"): "zeros circular zeros,circular circular,zeros",
    ("train", "predicts"): "eps x0 v",
    ("train", "order"): "any raster",
    ("train", "on"): "tokens dense",
    ("train", "weighting"): "level log plain",
    ("train", "dtype"): "auto float32 bfloat16",
    ("train", "weights"): "float32 float16",
    ("els", "machine"): "is es ls els bbels both time freq none linear wiener",
    ("els", "equivariance"): "both time freq none",
    ("els", "by"): "cosine mse sample",
    ("els", "compat"): "none kamb",
    ("els", "to"): "safetensors png jpg npy",
    ("thermalize", "corrector"): "next local memory wiener analog snap clip cap net conditional iterate residual",
    ("thermalize", "kind"): "field tokens embedding",
    ("thermalize", "logits"): "weigh sample expected",
    ("thermalize", "to"): "safetensors png jpg wav flac txt textgrid lab json npy",
}
ENVIRONMENT = {
    "fragment": "LEM_BATCH LEM_DEVICE LEM_MAX_BYTES LEM_SEED",
    "reconstruct": "LEM_BATCH LEM_DEVICE LEM_MAX_BYTES LEM_SEED",
    "compare": "LEM_BATCH LEM_MAX_BYTES",
    "encode": "LEM_BATCH LEM_DEVICE LEM_MAX_BYTES LEM_SEED",
    "train": "LEM_DEVICE LEM_SEED",
    "els": "LEM_BATCH LEM_DEVICE",
    "thermalize": "LEM_DEVICE LEM_MAX_BYTES LEM_SEED",
    "info": "",
}
METRICS = {
    "judged",
    "judged-original",
    "judged-change",
    "agreement",
    "deep@3",
    "mse",
    "mae",
    "max-abs",
    "psnr",
    "ssim",
    "ssim-uniform7",
    "ms-ssim",
    "gmsd",
    "snr",
    "snr-gaps",
    "segsnr",
    "si-sdr",
    "lsd",
    "mr-stft",
    "pesq",
    "pesq-nb",
    "stoi",
    "estoi",
    "visqol",
    "nmse",
    "sqnr",
    "cosine",
    "cosine-centred",
    "mutual-knn@10",
    "mutual-knn-cosine@10",
    "recall-csls@1",
    "mrr",
    "recall@1",
    "recall-cosine@1",
    "cka",
    "rsa",
    "linear-predictivity",
    "probe",
    "nc1",
    "mmcr",
    "ami@10",
    "rankme",
    "effective-rank",
    "participation-ratio",
    "alpha-req@100",
    "condition",
    "lempel-ziv",
    "frechet-pca@64",
    "frechet-log-mel@16",
    "frechet-patch@8",
    "nearest",
    "nearest-patch@8",
    "memorised",
    "mosaic@8",
    "w1",
    "log-spectrum",
    "log-spectrum-low@7",
    "psd-slope",
    "survival",
    "accuracy",
    "boundary-mae",
    "boundary-median",
    "boundary-bias",
    "boundary-within@20",
    "boundary-f1@20",
    "boundary-matched",
    "boundaries",
    "bits",
}


def command(tool: str) -> click.Command:
    return importlib.import_module(f"lemtools.cli.{tool}").cli


@pytest.fixture
def photos(tmp_path):
    """a/ and b/: three photos of noise each, those in b/ a little off, the last exactly alike."""
    rng = np.random.default_rng(5)
    for i, name in enumerate("xyz"):
        pixels = rng.integers(8, 240, (16, 20, 3), np.uint8)
        for folder in "ab":
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels + (folder == "b" and i < 2) * np.uint8(4 * i + 4)).save(
                tmp_path / folder / f"{name}.png"
            )
    return tmp_path


# --- the interface


@each_tool
def test_options_are_frozen(tool):
    context = command(tool).make_context(f"lem-{tool}", [], resilient_parsing=True)
    options = [p for p in command(tool).get_params(context) if isinstance(p, click.Option)]
    assert {name for p in options for name in (*p.opts, *p.secondary_opts)} == set(OPTIONS[tool].split())
    assert {p.envvar for p in options if p.envvar} == set(ENVIRONMENT[tool].split())
    assert not any("_" in name for p in options for name in p.opts)
    assert all(p.help for p in options)


@pytest.mark.parametrize("tool, name", CHOICES)
def test_choices_are_frozen(tool, name):
    (option,) = [p for p in command(tool).params if p.name == name]
    assert " ".join(option.type.choices) == CHOICES[tool, name]


def test_choices_are_those_of_the_library():
    from lemtools.catalogue.correctors import CORRECTORS
    from lemtools.catalogue.denoisers import named
    from lemtools.catalogue.encoders import ENCODERS
    from lemtools.catalogue.networks import PADDING, PREDICTS
    from lemtools.catalogue.recipes import RECIPES
    from lemtools.compare import METRICS as metrics
    from lemtools.dreams.calibrate import BY
    from lemtools.fragment import OPERATIONS
    from lemtools.media.find import SAMPLES
    from lemtools.media.save import FORMATS
    from lemtools.reconstruct import METHODS as methods

    assert set(CHOICES["reconstruct", "method"].split()) == set(methods)
    assert CHOICES["encode", "encoder"].split() == list(ENCODERS)
    assert CHOICES["train", "recipe"].split() == list(RECIPES)
    assert CHOICES["thermalize", "corrector"].split() == list(CORRECTORS)
    assert CHOICES["els", "machine"].split() == named("machine") and CHOICES["els", "by"].split() == [*BY, "sample"]
    assert set(CHOICES["train", "padding"].split()) == set(PADDING.type)
    assert set(CHOICES["train", "predicts"].split()) == set(PREDICTS.type)
    assert set(CHOICES["fragment", "to"].split()) == set(FORMATS)
    assert set(CHOICES["fragment", "sample_name"].split()) == set(SAMPLES)
    assert {f"{row.name}@{row.k}" if row.k else row.name for row in metrics.rows} == METRICS
    assert all(f"--{name}" in OPTIONS["fragment"].split() for name in OPERATIONS)


@each_tool
def test_help_and_version(tool):
    for flag in ("-h", "--help"):
        done = lem_fork(tool, flag)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        assert text.startswith(f"Usage: lem-{tool} [OPTIONS]") and "\nExamples:\n  lem-" in text
        assert max(map(len, text.split("Examples:")[0].splitlines())) <= 100
    assert lem_fork(tool, "--version").stdout.decode() == f"lem-{tool}, version {__version__}\n"


# --- start-up


def run_and_tell(tool: str, *args, modules: str, cwd=None) -> tuple[set[str], float]:
    """(which of `modules` a command loads, seconds of CPU it takes from the interpreter's start)."""
    code = (
        f"import sys, time, os\nsys.argv = ['lem-{tool}', *{[str(a) for a in args]!r}]\n"
        f"from lemtools.cli.{tool} import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('told', time.process_time(), *[m for m in {modules.split()!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=cwd, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode()
    word, seconds, *loaded = done.stderr.decode().splitlines()[-1].split()
    assert word == "told"
    return set(loaded), float(seconds)


@each_tool
def test_help_loads_nothing_heavy(tool):
    loaded, seconds = run_and_tell(tool, "--help", modules="numpy torch rich PIL soundfile safetensors")
    assert not loaded
    assert seconds <= 0.25  # 0.08 on a quiet machine: tests/benchmarks/bench_startup.py


@pytest.mark.parametrize(
    "tool, args",
    [
        ("fragment", ["a/x.png", "--bits", "3", "--mask", ".5", "-o", "out.png"]),
        ("fragment", ["--sample", "--bits", "3", "--noise", ".1", "-o", "out.png"]),
        ("compare", ["a/x.png", "b/x.png"]),
        ("compare", ["a", "b", "--metric", "all"]),
        ("info", ["x.safetensors"]),
        ("reconstruct", ["x.safetensors", "--method", "decode", "-o", "out.png"]),
        ("reconstruct", ["x.safetensors", "--method", "inpaint", "-o", "out.png"]),
    ],
)
def test_who_never_loads_torch(photos, tool, args):
    lem_fork("fragment", "a/x.png", "--mask", ".3", "--bits", "4", "-o", "x.safetensors", cwd=photos)
    loaded, _ = run_and_tell(tool, *args, modules="torch torchaudio scipy matplotlib rich", cwd=photos)
    assert not loaded


# --- order, binding, draws


def operations(line: str) -> list[dict]:
    context = command("fragment").make_context("lem-fragment", line.split())
    return ordered(context.meta["order"], context.params)


@pytest.mark.parametrize(
    "line, expected",
    [
        ("--bits 3", [{"op": "bits", "bits": 3}]),
        (
            "--mask .5 --bits 3 --mask .2",
            [{"op": "mask", "mask": 0.5}, {"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.2}],
        ),
        (
            "--bits 3 --mask .5 --mask-shape patch:4 --mask .2 --mask-shape rows",
            [
                {"op": "bits", "bits": 3},
                {"op": "mask", "mask": 0.5, "shape": "patch:4"},
                {"op": "mask", "mask": 0.2, "shape": "rows"},
            ],
        ),
        (
            "--bits 2-6 x.png --quantizer lloyd-max --scale peak --bits 1",
            [{"op": "bits", "bits": (2, 6), "quantizer": "lloyd-max", "scale": "peak"}, {"op": "bits", "bits": 1}],
        ),
        (
            "--noise .1 --clamp --noise=0-.5 --crop 3x4+1+2",
            [
                {"op": "noise", "sigma": 0.1, "clamp": True},
                {"op": "noise", "sigma": (0.0, 0.5)},
                {"op": "crop", "crop": "3x4+1+2"},
            ],
        ),
        (
            "--keep-dims 7 --downsample 2 --noise 1e-3",
            [{"op": "keep-dims", "keep": 7}, {"op": "downsample", "factor": 2}, {"op": "noise", "sigma": 0.001}],
        ),
    ],
)
def test_operations_are_those_written_in_their_order(line, expected):
    assert operations(line) == expected


def wire(done) -> list:
    assert done.returncode == 0, done.stderr.decode()
    return list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))


def test_two_commands_equal_one(photos):
    """Random draws included: they depend on the seed, the item, and the operation's place in the whole chain."""
    parts = ["--mask", "0-.9"], ["--bits", "1-6"], ["--mask", ".3", "--mask-shape", "patch:4"]
    (whole,) = wire(lem_fork("fragment", "a", *itertools.chain(*parts), "--seed", "7", cwd=photos))
    done = lem_fork("fragment", "a", *parts[0], "--seed", "7", cwd=photos)
    for part in parts[1:]:
        done = lem_fork("fragment", *part, "--seed", "7", stdin=done.stdout, cwd=photos)
    (steps,) = wire(done)
    assert np.array_equal(whole.data, steps.data) and np.array_equal(whole.mask, steps.mask)
    assert [op["op"] for op in steps.ops] == ["mask", "bits", "mask"] and len(steps.history) == 3
    (other,) = wire(lem_fork("fragment", "a", *parts[0], *parts[2], *parts[1], "--seed", "7", cwd=photos))
    assert not np.array_equal(whole.mask, other.mask)


def test_shards_of_what_is_fitted_to_its_input_are_parts_of_the_whole(tmp_path):
    """pca without a model is fitted to all of the input in every shard."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32))
    command = ("encode", "--encoder", "pca", "--dims", "2", "x.npy")
    (whole,) = wire(lem_fork(*command, cwd=tmp_path))
    shards = [s for k in range(2) for s in wire(lem_fork(*command, "--shard", f"{k}/2", cwd=tmp_path))]
    assert [len(s.data) for s in shards] == [5, 5]
    assert all(np.array_equal(shard.data, whole.data[k::2]) for k, shard in enumerate(shards))
    os.mkfifo(tmp_path / "pipe")
    refused = lem_fork("encode", "--encoder", "pca", "--dims", "2", "--shard", "0/2", "pipe", cwd=tmp_path)
    assert refused.returncode == 2 and b"--shard needs files that pca can read twice" in refused.stderr


def test_batches_and_shards_change_nothing(photos):
    command = ("fragment", "a", "--mask", "0-.9", "--bits", "1-6", "--noise", ".1")
    (whole,) = wire(lem_fork(*command, cwd=photos))
    single = wire(lem_fork(*command, "--batch", "1", cwd=photos))
    shards = [s for k in range(2) for s in wire(lem_fork(*command, "--shard", f"{k}/2", cwd=photos))]
    slurm = wire(
        lem_fork(
            *command,
            "--shard",
            "auto",
            cwd=photos,
            env={"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "2"},
        )
    )
    assert len(single) == 3 and [s.index.tolist() for s in slurm] == [[1]]
    for signal in (*single, *shards, *slurm):
        for k, i in enumerate(signal.index):
            assert np.array_equal(signal.data[k], whole.data[i]) and signal.names[k] == whole.names[i]
    assert sorted(i for s in shards for i in s.index.tolist()) == [0, 1, 2]


def test_the_seed_and_its_environment(photos):
    def draw(*args, **env):
        return wire(lem_fork("fragment", "a/x.png", "--mask", ".5", *args, cwd=photos, env=env))[0]

    assert (
        np.array_equal(draw("--seed", "9").mask, draw(LEM_SEED="9").mask)
        and draw(LEM_SEED="9").history[-1]["seed"] == 9
    )
    assert not np.array_equal(draw().mask, draw("--seed", "9").mask)
    assert np.array_equal(draw("--seed", "9").mask, draw("--seed", "9", LEM_SEED="4").mask)
    assert np.array_equal(draw().mask, draw("--seed", "0").mask)


# --- what is said


def test_notes_details_and_quiet(photos):
    done = lem_fork("fragment", "a", "--bits", "3", "-o", "out/", "-v", cwd=photos)
    assert done.stderr.decode().splitlines() == [f"lem-fragment: {n}.png: 3 bits per element" for n in "xyz"]
    assert lem_fork("fragment", "a", "--bits", "3", "-o", "out/", cwd=photos).stderr == b""
    done = lem_fork("compare", "a", "b", "--max", "mse=1", "-q", cwd=photos)
    assert (done.returncode, done.stderr) == (1, b"")
    done = lem_fork("reconstruct", "out/x.safetensors", "--method", "decode", "-v", "-o", "x.png", cwd=photos)
    assert done.stderr.decode().startswith("lem-reconstruct: 1 items: decode (")


def test_results_are_parted_by_tabs(photos):
    done = lem_fork("compare", "a", "b", "--metric", "mse", "--metric", "max-abs", cwd=photos)
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [(row[0], float(row[1]), int(row[4])) for row in rows] == [
        ("mse", pytest.approx((16 + 64 + 0) / 3, rel=1e-6), 3),
        ("max_abs", pytest.approx((4 + 8 + 0) / 3, rel=1e-6), 3),
    ]
    assert [row[2:4] for row in rows] == [["-", "-"]] * 2  # of three items there is no interval
    for copy in "vw":
        for folder in "ab":
            shutil.copy(photos / folder / "x.png", photos / folder / f"{copy}.png")
    done = lem_fork("compare", "a", "b", "--metric", "mse", cwd=photos)
    errors = np.array([16, 64, 0, 16, 16])
    mean, half = (
        errors.mean(),
        2.776445 * errors.std(ddof=1) / np.sqrt(5),
    )  # Student's t of 97.5 %, 4 degrees of freedom
    ends = [mean * np.exp(sign * half / mean) for sign in (-1, 1)]
    assert [float(v) for v in done.stdout.decode().split("\t")[2:4]] == pytest.approx(ends, rel=1e-5)
    for copy in "vw":
        for folder in "ab":
            (photos / folder / f"{copy}.png").unlink()
    done = lem_fork("compare", "a", "b", "--metric", "mse", "--items", cwd=photos)
    assert [line.split("\t")[0::4] + line.split("\t")[1:2] for line in done.stdout.decode().splitlines()[:3]] == [
        ["mse", "x.png", "16"],
        ["mse", "y.png", "64"],
        ["mse", "z.png", "0"],
    ]


def test_json_keys_are_frozen(photos):
    done = lem_fork("compare", "a", "b", "--metric", "psnr", "--json", "--items", cwd=photos)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(line) for line in lines] == [["metric", "name", "unit", "item", "value"]] * 3 + [
        ["metric", "name", "unit", "mean", "low", "high", "n"]
    ]
    assert lines[0] == {
        "metric": "psnr",
        "name": "psnr",
        "unit": "dB",
        "item": "x.png",
        "value": pytest.approx(10 * np.log10(255**2 / 16)),
    }
    # z is exact: its PSNR is infinite, and so is the mean
    assert lines[2]["value"] is None and (lines[3]["mean"], lines[3]["low"], lines[3]["n"]) == (None, None, 3)
    assert done.stderr == b"lem-compare: infinite or undefined values are null in JSON\n"
    fragment = lem_fork("fragment", "a", "--bits", "3", cwd=photos).stdout
    (facts,) = [json.loads(line) for line in lem_fork("info", "--json", "-", stdin=fragment).stdout.splitlines()]
    assert list(facts) == [
        "file",
        "documents",
        "items",
        "bytes",
        "kind",
        "shape",
        "rate",
        "ops",
        "history",
        "bits_per_element",
        "alphabet",
        "beside",
        "tensors",
        "model",
        "card",
        "calibration",
        "front",
        "embedding",
        "task",
        "thoughts",
        "problem",
        "complete",
    ]
    assert (facts["items"], facts["shape"], facts["bits_per_element"]) == (3, [3, 16, 20], 3.0)
    assert list(facts["history"][0]) == ["tool", "version", "args", "seed"]
    assert facts["history"][0]["args"] == ["a", "--bits", "3"] and facts["history"][0]["version"] == __version__


@pytest.mark.parametrize(
    "limits, status, said",
    [
        (["--min", "psnr=30"], 0, b""),
        (["--max", "mse=16", "--min", "ssim=.5"], 0, b""),
        (["--min", "psnr=40"], 1, b"lem-compare: psnr is 36.0896, below 40\n"),
        (["--max", "mse=15.9"], 1, b"lem-compare: mse is 16, above 15.9\n"),
        (["--min", "psnr=40", "--max", "mse=1"], 1, None),
    ],
)
def test_thresholds(photos, limits, status, said):
    done = lem_fork("compare", "a/x.png", "b/x.png", *limits, cwd=photos)
    assert done.returncode == status and done.stdout
    assert done.stderr == said if said is not None else len(done.stderr.splitlines()) == 2


def test_pairs_by_order_and_by_name(photos):
    (photos / "b/z.png").rename(photos / "b/0.png")  # b is now 0, x, y
    assert (
        b"match by name with --pair name, or accept this with --pair order"
        in lem_fork("compare", "a", "b", cwd=photos).stderr
    )
    assert lem_fork("compare", "a", "b", "--pair", "order", "--metric", "mse", cwd=photos).returncode == 0
    assert b"z.png: no recalled item of that name" in lem_fork("compare", "a", "b", "--pair", "name", cwd=photos).stderr
    (photos / "a/z.png").unlink()
    assert (
        b"0: a recalled item without an original" in lem_fork("compare", "a", "b", "--pair", "name", cwd=photos).stderr
    )
    (photos / "b/0.png").unlink()
    done = lem_fork("compare", "a", "b", "--pair", "name", "--metric", "mse", "--items", cwd=photos)
    assert [line.split("\t")[1] for line in done.stdout.decode().splitlines()] == ["16", "64", "40"]


# --- whole pipelines


def shell(line: str, cwd):
    env = {**os.environ, **fronts()}
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=cwd, capture_output=True, env=env)


def test_the_pipeline_of_the_readme(tmp_path):
    done = shell("lem-fragment --sample --bits 3 | lem-reconstruct --method decode > out.png", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    from lemtools.media import sample

    original, recalled = (
        np.asarray(Image.open(path)).astype(int) for path in (sample("kodim23"), tmp_path / "out.png")
    )
    assert recalled.shape == (256, 384, 3)
    # the middle of the bin of v >> 5: its 32 values lie around 15.5, rounded to even
    assert np.array_equal(recalled, np.rint((original >> 5) * 32 + 15.5))


def test_a_stream_through_every_tool(photos):
    line = (
        "lem-fragment --bits 4 a | lem-reconstruct --method decode | lem-compare --metric psnr --metric bits --json a -"
    )
    done = shell(line, photos)
    assert done.returncode == 0, done.stderr
    psnr, bits = (json.loads(row) for row in done.stdout.splitlines())
    assert 33 < psnr["mean"] < 36 and psnr["n"] == 3 and bits["mean"] == 4.0


def test_a_loop_through_pipes_does_not_wait_for_a_batch_it_was_given(tmp_path):
    """The first batch comes out while the input stays open: no stage holds a finished batch back."""
    from lemtools.signal import Signal

    code = "from lemtools.cli.fragment import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "--bits", "3", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    first = Signal("embedding", np.ones((2, 4), np.float32), history=[{}])
    child.stdin.write(b"".join(bytes(part) for part in stream.document(first)))
    child.stdin.flush()
    begun, got = time.monotonic(), b""
    os.set_blocking(child.stdout.fileno(), False)
    while not got and time.monotonic() < begun + 20:
        got = child.stdout.read() or b""
        time.sleep(0.01)
    assert len(got) > 100
    child.stdin.close()
    child.wait(20)
    assert child.returncode == 2  # the stream had no end


def test_the_bundled_sound(tmp_path):
    done = lem_fork(
        "fragment",
        "--sample-name",
        "rooster",
        "--mask",
        ".01",
        "--mask-shape",
        "span:20ms",
        "-o",
        "x.wav",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    heard, rate = soundfile.read(tmp_path / "x.wav")
    runs = re.findall(r"0+", "".join("0" if v == 0 else "1" for v in heard))
    assert max(map(len, runs)) >= round(0.02 * rate) and soundfile.info(tmp_path / "x.wav").subtype == "FLOAT"


def test_a_model_is_told_as_what_it_is():
    """The bundled network: a plain safetensors file, whose record says what it was made for."""
    from lemtools.reconstruct import BUNDLED

    done = lem_fork("info", BUNDLED)
    assert (done.returncode, done.stderr) == (0, b"") and b"complete\ttrue" in done.stdout
    facts = json.loads(lem_fork("info", "--json", BUNDLED).stdout)
    assert facts["card"]["lem"]["net"]["net"] == "conv" and facts["card"]["lem"]["card"]["data"].startswith("BSDS400")
    assert any(line.startswith("enter.weight F16 ") for line in facts["tensors"]) and facts["problem"] is None


@each_tool
def test_a_command_starts_as_a_module_too(tool):
    """As torchrun -m starts it; and what is wrong is said, not passed over."""
    line = [sys.executable, "-m", f"lemtools.cli.{tool}"]
    done = subprocess.run([*line, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"lem-{tool}, version {__version__}\n")
    done = subprocess.run([*line, "--no-such-option"], capture_output=True, text=True)
    assert done.returncode == 2 and f"lem-{tool}: error: No such option" in done.stderr


def test_a_process_of_its_own():
    """The forks of the other tests are no substitute for one true start."""
    done = lem("fragment", "--sample", "--bits", "3", "--to", "png", own=True)
    assert Image.open(io.BytesIO(done.stdout)).size == (384, 256)
    assert lem("info", "nope", ok=False, own=True).stderr == b"lem-info: error: nope: No such file or directory\n"


def test_a_default_by_kind_names_each_value_once():
    said = re.sub(r"\s", "", lem("train", "classifier", "--help").stdout.decode())  # (lines break anywhere)
    assert "[default:conv-classifier(image,spectrum),mlp-classifier(embedding)]" in said
