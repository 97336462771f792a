"""lem-train as a command: its options, what it refuses, signals, several processes, SLURM."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.commands import free_port, fronts, lem, lem_fork, lem_together
from helpers.paths import EXAMPLES
from helpers.training import images, vectors
from lemtools.nets.model import load
from lemtools.train import checkpoint

SLURM = EXAMPLES / "slurm"
SMALL = "--arch flat --width 4 --depth 1 --batch 4 --holdout 4 --device cpu"
RUN = "feedforward --data image.npy --fragment '--mask .5' " + SMALL


def run(line: str, folder, **more):
    """lem-train in a fork, in `folder`, on one thread."""
    return lem_fork("train", *shlex.split(line), cwd=folder, prepare=lambda: torch.set_num_threads(1), **more)


def good(line: str, folder, **more):
    done = run(line, folder, **more)
    assert done.returncode == 0, done.stderr.decode()
    return done


def tensors(path) -> dict[str, torch.Tensor]:
    return load(str(path)).tensors()


# options


def test_a_folder_of_photos_is_made_alike(tmp_path):
    """Grey among colours, two sizes, a broken file: each stops a run, unless it is asked to make them alike."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        pixels = rng.integers(0, 256, (12, 12 + 4 * (i % 2), 3), np.uint8)
        Image.fromarray(pixels if i % 3 else pixels[..., 0]).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    line = f"feedforward --data photos --fragment '--mask .5' {SMALL} --holdout 1 --steps 2"
    for more, words in (
        ("", "--grey and --rgb make images alike"),
        ("--rgb", "broken.jpg: not a readable JPEG"),
        ("--rgb --skip-bad", "images of several sizes; give --crop, as in --crop 128, or --resize"),
        ("--rgb --grey", "--grey and --rgb: give one of them"),
    ):
        done = run(f"{line} {more} -o x.safetensors", tmp_path)
        assert done.returncode == 2 and words in done.stderr.decode(), (more, done.stderr)
    for more, channels in (("--grey", 1), ("--rgb", 3)):
        done = good(f"{line} {more} --resize 8x8 --skip-bad -o {channels}.safetensors", tmp_path)
        assert load(str(tmp_path / f"{channels}.safetensors")).meta["item"] == [channels, 8, 8]
        assert done.stderr.count(b"broken.jpg") == 1 and done.stderr.count(b"cut to the aspect of 8 x 8") == 1
    done = run(f"{line} --rgb --resize 8x8 --skip-bad -o 1.safetensors", tmp_path)
    assert done.returncode == 2 and b"its run has --grey True" in done.stderr


def test_config_file_and_the_command_line_before_it(tmp_path, kept):
    (tmp_path / "run.toml").write_text("""
        data = "image.npy"
        fragment = ["--mask .5", "--bits 2"]
        arch = "flat"
        width = 4
        depth = 1
        batch = 4
        steps = 6
        lr = 1e-2
        save-every = 2
        seed = 3
        quiet-is-no-such-option = 1
    """)
    done = run("feedforward --config run.toml -o m.safetensors", tmp_path)
    assert done.returncode == 2 and b"no option 'quiet-is-no-such-option'" in done.stderr
    text = (
        (tmp_path / "run.toml")
        .read_text()
        .replace(
            "quiet-is-no-such-option = 1",
            """
        [set]
        lost = 0.25
        dilations = [1, 3]
        [card]
        licence = "CC0"
        note = "a = b"
    """,
        )
    )
    (tmp_path / "run.toml").write_text(text)
    good("feedforward --config run.toml --width 5 --lr 2e-2 --card 'note=mine' -o m.safetensors", tmp_path)
    settings = checkpoint.load_state(str(tmp_path / "m.safetensors"))[1]["settings"]
    wanted = {"width": 5, "lr": 0.02, "seed": 3, "steps": 6, "batch": 4, "fragment": ["--mask .5", "--bits 2"]}
    assert {k: settings[k] for k in wanted} == wanted
    model = load(str(tmp_path / "m.safetensors"))
    assert model.net.lost == 0.25 and model.meta["net"]["dilations"] == [1, 3] and model.meta["step"] == 6
    assert model.meta["card"]["note"] == "mine" and "licence" not in model.meta["card"]
    assert model.meta["card"]["command"].startswith("lem-train feedforward --config run.toml --width 5")
    good("feedforward --config run.toml -o n.safetensors", tmp_path)
    card = load(str(tmp_path / "n.safetensors")).meta["card"]
    assert (card["licence"], card["note"]) == ("CC0", "a = b")


def test_command_line_says_how_long_whichever_way(tmp_path, kept):
    (tmp_path / "run.toml").write_text("flops = 1e12")
    good(RUN + " --config run.toml --steps 2 -q -o m.safetensors", tmp_path)
    assert load(str(tmp_path / "m.safetensors")).meta["step"] == 2


@pytest.mark.parametrize(
    "toml, says",
    [
        ("steps = ", "run.toml: not TOML"),
        ("steps = true", "run.toml: steps: Invalid value for '--steps': 'True' is not a valid integer"),
        ("steps = 0", "run.toml: steps: Invalid value for '--steps': 0 is not in the range"),
        ("recipe = 'diffusion'", "run.toml: no option 'recipe'"),
        ("save_every = 3", "run.toml: no option 'save_every'"),
        ("config = 'x'", "run.toml: no option 'config'"),
        ("set = {foo = 1}", "--arch flat has no 'foo'; it has width, blocks"),
        ("[fragment]\nmask = 0.5", "--fragment"),
    ],
)
def test_config_refuses(toml, says, tmp_path, kept):
    (tmp_path / "run.toml").write_text(toml)
    line = "feedforward --data image.npy " + ("" if "fragment" in toml else "--fragment '--mask .5' ") + SMALL
    assert says in refused(line + " --config run.toml -o m.safetensors", tmp_path)


def test_dry_run(tmp_path, kept):
    before = sorted(tmp_path.iterdir())
    done = good(RUN + " --steps 50 --dry-run -o m.safetensors", tmp_path)
    table = dict(line.split("\t")[:2] for line in done.stdout.decode().splitlines())
    assert list(table) == [
        "parameters",
        "steps",
        "batch",
        "flops_per_item",
        "flops",
        "memory_bytes",
        "seconds_per_step",
        "seconds",
        "loader_seconds_per_step",
        "epochs",
    ]
    people = {line.split("\t")[0]: line.split("\t")[2:] for line in done.stdout.decode().splitlines()}
    assert people["parameters"] == ["517"] and people["steps"] == [] and people["memory_bytes"][0].endswith("kB")
    assert people["seconds"][0].split()[1] in ("s", "min")
    assert int(table["parameters"]) == 9 * (5 * 4 + 2 * 16 + 4) + 3 * 4 + 1 and int(table["steps"]) == 50
    assert float(table["flops_per_item"]) == 6 * 64 * 9 * (5 * 4 + 2 * 16 + 4) and float(table["seconds"]) > 0
    assert sorted(tmp_path.iterdir()) == before
    budget = good(RUN + f" --flops {7 * 4 * float(table['flops_per_item'])} --dry-run -o m.safetensors", tmp_path)
    assert b"steps\t7\n" in budget.stdout


def test_help_loads_neither_torch_nor_numpy():
    code = """if True:
        import sys
        from lemtools.cli.train import cli
        try: cli(['--help'])
        except SystemExit: print({'torch', 'numpy'} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and "--fragment" in done.stdout


def test_words_of_a_run(tmp_path, kept):
    line = RUN + " --steps 4 --log-file log.jsonl --pictures pics -o m.safetensors"
    done = good(line, tmp_path)
    (record,) = map(json.loads, open(tmp_path / "log.jsonl"))
    found = (f"{name} {record[name]:.4g}" for name in ("loss", "held_out_loss", "held_out_psnr"))
    assert done.stdout == b"" and done.stderr.decode().splitlines() == [
        "lem-train: feedforward: flat of 517 parameters, 36 items, 4 steps of 4 on cpu",
        "lem-train: step 4 of 4: " + ", ".join(found),
    ]
    assert record.keys() == {
        "step",
        "loss",
        "lr",
        "gradient",
        "items_per_second",
        "seconds_per_step",
        "held_out_loss",
        "held_out_psnr",
    }
    assert sorted(p.name for p in (tmp_path / "pics").iterdir()) == ["step-0000004.png"]
    assert good(line + " -q", tmp_path).stderr == b""
    again = good(line + " -v", tmp_path).stderr.decode().splitlines()
    assert again[1:] == ["lem-train: done already, 4 steps"]


# what is refused


def refused(line: str, folder) -> str:
    """What the command says: one line, exit 2, and not a file more or other than before."""
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    done = run(line, folder)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and done.stdout == b"", (done.returncode, errors)
    assert errors[0].startswith("lem-train: error: ") and "a defect" not in errors[0], errors
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    return errors[0]


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder of data that do not go together."""
    folder = tmp_path_factory.mktemp("bad")
    np.save(folder / "image.npy", images())
    np.save(folder / "colour.npy", images(6, 3))
    np.save(folder / "large.npy", images(6, 1, 16))
    np.save(folder / "embedding.npy", vectors())
    np.save(folder / "few.npy", vectors(5))
    np.save(folder / "labels.npy", np.arange(7))
    np.save(folder / "nan.npy", np.full((4, 8), np.nan, np.float32))
    (folder / "text.txt").write_text("what is gone is gone")
    (folder / "file").write_text("")
    lem("fragment", "--sample-name", "rooster", "--bits", "8", "-o", folder / "sound.safetensors")
    (folder / "there.safetensors").write_bytes(b"precious")
    (folder / "folder.safetensors").mkdir()
    (folder / "link.npy").symlink_to(folder / "image.npy")
    (folder / "all" / "deep").mkdir(parents=True)
    (folder / "all" / "deep" / "image.npy").symlink_to(folder / "image.npy")
    return folder


def changed(old: str, new: str) -> str:
    assert old in RUN
    return RUN.replace(old, new)


DATA = "--data image.npy"
FRAGMENT = "--fragment '--mask .5'"
BAD = [
    (changed("feedforward", "backward"), "'backward' is not one of 'feedforward', 'recurrent'"),
    (changed(DATA, "--data image.npy --data large.npy"), "images of several sizes; give --crop, as in --crop 128"),
    (changed(DATA, "--data image.npy --data colour.npy"), "train on memories of one kind and number of channels"),
    (changed(DATA, "--data image.npy --data embedding.npy"), "embedding of shape [8] among image of [1, 8, 8]"),
    (changed(DATA, "--data sound.safetensors"), "audio cannot be learnt from: give --encoder, as in --encoder stft"),
    (changed(DATA, "--data text.txt"), "text.txt: tokens cannot be learnt from"),
    (changed(DATA, "--data gone.npy"), "gone.npy: No such file or directory"),
    (changed(DATA, "--data nan.npy"), "nan.npy: NaN or infinite values (item 0)"),
    (changed(DATA, ""), "nothing to learn from: give --data"),
    (RUN + " --target few.npy", "--target has 5 items for 40 of --data"),
    (RUN + " --target embedding.npy", "--arch flat answers in the shape of its input"),
    (changed(FRAGMENT, ""), "say what is lost, as in --fragment '--mask .75'"),
    (changed(FRAGMENT, "--fragment '--msak .5'"), "--fragment '--msak .5': No such option"),
    (changed(FRAGMENT, "--fragment '--mask'"), "--fragment '--mask': "),
    (changed(FRAGMENT, "--fragment '--mask .5 x.png'"), "unexpected extra argument"),
    (changed(FRAGMENT, '--fragment "--mask \'.5"'), "No closing quotation"),
    (changed(FRAGMENT, "--fragment '--downsample 2'"), "--downsample leaves no element of the memory"),
    (changed(FRAGMENT, "--fragment '--mask .5' --fragment '--keep-dims 2'"), "--keep-dims is for embeddings"),
    (changed(FRAGMENT, "--fragment '--crop 9x9'"), "--crop 9x9: larger than the image"),
    (changed("--arch flat", "--arch resnet"), "--arch resnet is not for feedforward; there are mlp, conv, flat, gru"),
    (changed("--arch flat", "--arch perceiver"), "--arch perceiver is not for feedforward"),
    (changed(DATA, "--data embedding.npy"), "--arch flat is for image, spectrum and field, not embedding"),
    (RUN + " --set foo=1", "--arch flat has no 'foo'; it has width, blocks, dilations, lost"),
    (RUN + " --set channels=3", "--arch flat has no 'channels'"),
    (RUN + " --set lost", "--set lost: NAME=VALUE"),
    (RUN + " --set dilations=[]", "--arch flat: integer modulo by zero"),
    (RUN + " --set width=-2", "--width and --set width say the same"),
    (changed("--width 4", "--set width=-2"), "--set width=-2: it takes a whole number from 1"),
    (RUN + " --set lost=much", "--set lost=much: it takes a number"),
    (RUN + " --padding circular", "--padding is for diffusion, not feedforward"),
    (RUN + " --crop 9", "an image of 8 x 8 is smaller than --crop 9"),
    (RUN + " --augment zoom", "--augment zoom needs a --crop"),
    (RUN + " --augment spin", "--augment spin: there are flip, dihedral, shift, grey, zoom"),
    (
        changed("feedforward", "diffusion").replace("flat", "resnet") + " --labels labels.npy",
        "labels.npy: 7 labels for 40 items",
    ),
    (RUN + " --labels labels.npy", "--labels is for diffusion and classifier, not feedforward"),
    (
        changed("feedforward", "diffusion").replace("flat", "resnet") + " --weighting log",
        "--weighting is for feedforward",
    ),
    (changed("flat --width 4 --depth 1", "conv") + " --set opponent=true", "one channel has no opponent colours"),
    (changed("flat --width 4", "conv"), "--depth is one number; --arch conv has several: --set blocks=[...]"),
    (RUN + " --validate large.npy", "--validate: items of [1, 16, 16], where those of --data are [1, 8, 8]"),
    (RUN + " --validate ./image.npy", "./image.npy is among --data, too; nothing may be learnt from it then"),
    (RUN + " --validate large.npy --validate link.npy", "--validate: link.npy is among --data, too"),
    (RUN + " --validate 'ima*.npy'", "--validate: image.npy is among --data, too"),
    (RUN + " --validate all", "--validate: all/deep/image.npy is among --data, too"),
    (changed(DATA, "--data all") + " --validate image.npy", "--validate: image.npy is among --data, too"),
    (RUN + " --validate embedding.npy", "--validate: memories of the kind of --data"),
    (RUN + " --crop 8 --validate colour.npy", "--validate: items of [3, 8, 8], where"),
    (RUN + " --holdout 40", "--holdout 40 leaves nothing of 40 items"),
    (RUN + " --holdout 0 --pictures pics", "--pictures shows images that are kept back: give --holdout"),
    (RUN + " --pictures file", "file: File exists"),
    (RUN + " --log-file none/log.jsonl", "none/log.jsonl: there is no folder none"),
    (RUN + " --log-file image.npy", "image.npy: not a log of lem-train"),
    (RUN + " --log-file folder.safetensors", "folder.safetensors: a folder; name a file"),
    (RUN + " --device abacus", "device abacus is not here; there is"),
    (RUN + " --decay cosine:2", "--decay cosine:2: cosine, constant, or exponential:R"),
    (RUN + " --decay exponential:2", "R of 0 to 1"),
    (RUN + " --steps 3 --flops 1e9", "--steps and --flops both say how long"),
    (RUN + " --lr nan", "nan is not a finite number"),
    (RUN + " --card licence", "--card licence: NAME=TEXT"),
    (RUN + " --config gone.toml", "gone.toml: No such file"),
    (RUN + " -o none/m.safetensors", "none/m.safetensors: there is no folder none"),
    (RUN + " -o file/m.safetensors", "file/m.safetensors: there is no folder file"),
    (RUN + " -o folder.safetensors", "folder.safetensors: a folder"),
    (RUN + " -o there.safetensors", "there.safetensors: a model without the state of its run"),
    (RUN + " -o m.pt", "-o m.pt: a model is a .safetensors file"),
    (RUN + " --lr 1e30 --warmup 0 --steps 9", "the loss is not finite since step 2; no checkpoint was written yet"),
]


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, bad):
    assert says in refused(line + ("" if " -o " in line else " -o m.safetensors") + " -q", bad)


def test_no_place_for_the_model():
    done = run(RUN, "/")
    assert done.returncode == 2 and b"where does the model go? Give -o MODEL.safetensors" in done.stderr


def test_a_folder_that_cannot_be_written_to(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert "m.safetensors: the folder . cannot be written to" in refused(RUN + " -q -o m.safetensors", tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_here(tmp_path, kept):
    line = changed("--device cpu", "--device cuda") + " -q -o m.safetensors"
    assert "device cuda is not here; there is cpu" in refused(line, tmp_path)


def test_resume_with_other_options(tmp_path, kept):
    good(RUN + " --steps 4 -q -o m.safetensors", tmp_path)
    says = (
        "its run has --fragment ['--mask .5'], not ['--bits 2']; --steps 4, not 5. Give the same settings to go on, or"
    )
    assert says in refused(changed(FRAGMENT, "--fragment '--bits 2'") + " --steps 5 -q -o m.safetensors", tmp_path)


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_writes_a_checkpoint_and_is_died_of(number, tmp_path, kept):
    line = RUN + " --steps 1000000 --save-every 5 --workers 1 -q -o m.safetensors"

    def send():
        torch.set_num_threads(1)
        if os.fork() == 0:
            parent, end = os.getppid(), time.monotonic() + 20
            while not (tmp_path / "m.safetensors").exists() and time.monotonic() < end:
                time.sleep(0.01)
            os.kill(parent, number)
            os._exit(0)

    done = lem_fork("train", *shlex.split(line), cwd=tmp_path, prepare=send)
    step = load(str(tmp_path / "m.safetensors")).meta["step"]
    assert done.returncode == -number and step >= 5 and done.stdout == b""
    assert done.stderr.decode() == (
        f"lem-train: stopped at step {step}; m.safetensors and its state are written, the same command goes on\n"
    )
    assert checkpoint.load_state(str(tmp_path / "m.safetensors"))[1]["step"] == step
    assert not list(tmp_path.glob(".*"))


# several processes


def test_two_processes_learn_what_one_does(tmp_path, kept):
    line = RUN + " --steps 12 --save-every 5 --lr 1e-2 --log-file {0}.jsonl -o {0}.safetensors"
    good(line.format("one") + " -q", tmp_path)
    ends = lem_together("train", line.format("two"), tmp_path)
    told = "lem-train: feedforward: flat of 517 parameters, 36 items, 12 steps of 4 on cpu (2 processes)\n"
    (first, said), other = ends
    assert (first, other) == (0, (0, "")) and re.sub(r"[\d.]+(?=,|$)", "?", said.removeprefix(told).strip()) == (
        "lem-train: step 12 of 12: loss ?, held_out_loss ?, held_out_psnr ?"
    )
    one, two = tensors(tmp_path / "one.safetensors"), tensors(tmp_path / "two.safetensors")
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5
    states = [checkpoint.load_state(str(tmp_path / f"{n}.safetensors"))[0] for n in ("one", "two")]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-5) for k in states[0])
    logs = [[json.loads(x) for x in open(tmp_path / f"{n}.jsonl")] for n in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 3 and all(abs(a["loss"] - b["loss"]) < 1e-4 for a, b in zip(*logs))


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are not to be seen here")
def test_threads_of_the_group_end_with_it(tmp_path, kept, monkeypatch):
    """One that still ran at the end of Python could ask for its lock, and abort."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # CUDA has threads of its own
    threads = "[open(p).read().strip() for p in glob.glob('/proc/self/task/*/comm')]"
    begin = f"import atexit, glob, sys; atexit.register(lambda: print({threads}, file=sys.stderr))"
    ends = lem_together("train", RUN + " --steps 2 -q -o m.safetensors", tmp_path, begin=begin)
    assert all(code == 0 and "python" in told and "pt_" not in told for code, told in ends), ends


def test_one_of_two_processes_says_what_is_wrong(tmp_path, kept):
    ends = lem_together("train", changed("--batch 4", "--batch 5") + " -o m.safetensors", tmp_path)
    assert ends == [
        (2, "lem-train: error: --batch 5 does not divide among 2 processes; give a multiple of 2\n"),
        (2, ""),
    ]
    ends = lem_together("train", changed(DATA, "--data -") + " -o m.safetensors", tmp_path)
    assert ends[0] == (2, "lem-train: error: standard input cannot be shared by several processes; give files\n")
    ends = lem_together("train", RUN + " --lr 1e30 --warmup 0 --steps 9 -q -o m.safetensors", tmp_path)
    assert [e[0] for e in ends] == [2, 2] and "not finite since step 2" in ends[0][1] and ends[1][1] == "", ends


# SLURM


@pytest.fixture
def cluster(tmp_path, kept):
    """A folder with the commands of a cluster of one machine; srun runs its command once a node, and passes signals on."""
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
        "scontrol": 'echo "$@" >> "$FAKE/scontrol.txt"; [ "$1" = show ] && echo 127.0.0.1; exit 0',
        "srun": """
            while case "$1" in -*) true;; *) false;; esac; do shift; done
            pids=
            trap 'kill -USR1 $pids' USR1
            for node in $(seq "${SLURM_NNODES:-1}"); do SLURM_NODEID=$((node - 1)) "$@" & pids="$pids $!"; done
            status=0
            for pid in $pids; do
                wait "$pid"; one=$?
                while kill -0 "$pid" 2> /dev/null; do wait "$pid"; one=$?; done  # a signal ends a wait
                [ "$one" -gt "$status" ] && status=$one
            done
            exit $status""",
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    env |= {
        **fronts(),
        "PATH": f"{tools}:{fronts()['PATH']}",
        "FAKE": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(SLURM.parent.parent), env.get("PYTHONPATH", "")]),
    }

    def start(script: str, line: str, **variables):
        return subprocess.Popen(
            ["bash", SLURM / script, *shlex.split(line)],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            env=env | {f"SLURM_{k}": str(v) for k, v in variables.items()},
            text=True,
        )

    return tmp_path, start


@pytest.mark.parametrize("script", ["array.sbatch", "multinode.sbatch"])
def test_slurm_scripts_are_sound(script):
    text = (SLURM / script).read_text()
    assert subprocess.run(["bash", "-n", SLURM / script], capture_output=True).stderr == b""
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.M))
    assert options["signal"] == "B:USR1@120" and "requeue" in options and options["open-mode"] == "append"
    assert ("array" in options) == (script == "array.sbatch") and not {"partition", "account", "qos"} & set(options)


def test_slurm_array_is_stopped_requeued_and_goes_on(cluster):
    folder, start = cluster
    line = RUN + " --steps 40 --save-every 5 -q"
    job = start("array.sbatch", line.replace("--steps 40", "--steps 1000000"), ARRAY_TASK_ID=3, ARRAY_JOB_ID=77)
    model, end = folder / "seed-3.safetensors", time.monotonic() + 60
    while not model.exists() and time.monotonic() < end:
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)  # as --signal=B: does
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 0 and "stopped at step" in errors and "Traceback" not in errors
    assert (folder / "scontrol.txt").read_text() == "requeue 77_3\n"
    _state, record, _ = checkpoint.load_state(str(model))
    assert record["step"] == load(str(model)).meta["step"] >= 5 and record["settings"]["seed"] == 3


def test_slurm_nodes_meet_and_learn_what_one_process_does(cluster):
    folder, start = cluster
    job = start(
        "multinode.sbatch",
        RUN + " --steps 8 --lr 1e-2 -o many.safetensors",
        NNODES=2,
        GPUS_ON_NODE=1,
        JOB_ID=free_port() - 20000,
        JOB_NODELIST="node[1-2]",
    )
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert errors.count("8 steps of 4 on cpu (2 processes)") == 1 and "Traceback" not in errors
    assert (folder / "scontrol.txt").read_text() == "show hostnames node[1-2]\n"
    good(RUN + " --steps 8 --lr 1e-2 -q -o one.safetensors", folder)
    one, many = tensors(folder / "one.safetensors"), tensors(folder / "many.safetensors")
    assert max(float((one[k] - many[k]).abs().max()) for k in one) < 1e-5
