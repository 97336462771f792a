"""The manual and the shell completions say what the commands do: options, choices and examples, both ways."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import click
import numpy as np
import pytest
from click.testing import CliRunner

from helpers.commands import lem, lem_fork
from helpers.manual import COMMANDS, LINES, PAGES, completions, manpages, plain, section, source, stages
from helpers.paths import ROOT

SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO")
each_command = pytest.mark.parametrize("name", COMMANDS)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def told(name: str) -> dict[str, str]:
    """{option as spelled: its entry} in the OPTIONS of a page."""
    out = {}
    for item in re.split(r"^\.It ", section(source(name), "OPTIONS"), flags=re.M)[1:]:
        entry = plain(item)
        for spelling in re.findall(r"Fl (-{0,1}[\w-]+)", entry.splitlines()[0]):
            out["-" + spelling] = entry
    return out


def helped(name: str) -> dict[str, str]:
    """{option as spelled: its entry} in what --help prints, of a command that has rows to choose from with each row."""
    command, out = COMMANDS[name], {}
    rows = [[]] + ([[*naming(command), row] for row in command.table] if getattr(command, "chosen", None) else [])
    for row in rows:
        text = CliRunner().invoke(command, [*row, "--help"], terminal_width=100).output
        listed = re.split(r"^(?:What it does|Input|Output|Running):\n", text, flags=re.M)[1:]
        assert len(listed) >= 2, text
        for entry in re.split(r"^  (?=-)", "".join(listed).split("\nExamples:")[0], flags=re.M)[1:]:
            head = re.split(r"\s{2,}|\n", entry)[0]
            for spelling in re.findall(r"(?<![\w-])--?[a-z][\w-]*", head):
                out[spelling] = re.sub(r"\s+", " ", entry)
    return out


def naming(command) -> list[str]:
    """What stands before a row's name on the command line."""
    return [word for word in command.naming.split()[:-1] if word.startswith("-")]


def brought(command) -> set[str]:
    """Options whose default is a fact of the row."""
    return {fact for row in command.table.rows for fact in row.facts} if getattr(command, "chosen", None) else set()


def words(items: str) -> set[str]:
    """Names that head the entries of a list in a page."""
    return {plain(w) for w in re.findall(r"^\.It Cm ([^\s:@]+)", items, re.M)}


@each_command
def test_options_of_the_page_are_those_of_help(name):
    page, shown = told(name), helped(name)
    assert len(page) >= 6
    assert set(page) == set(shown)


@each_command
def test_choices_and_defaults_of_the_page_are_those_of_help(name):
    page, shown = told(name), helped(name)
    counted = 0
    for option in manpages.options(COMMANDS[name]):
        spelled = option.opts[-1]
        for word in manpages.choices(option):
            counted += 1
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page[spelled]), (spelled, word)
        if option.name in brought(COMMANDS[name]):  # by each row another one: see test_recipes.py
            continue
        default = re.search(r"\[default: ([^;\]]+)", shown[spelled])
        said = re.search(r"Default: (.+?)\.(?: |\Z)", " ".join(page[spelled].split()))
        assert (default and default[1]) == (said and said[1]), spelled
    assert counted or name == "lem-info"


def test_a_choice_that_the_page_lacks_would_be_noticed():
    command = click.Command("x", params=[click.Option(["--colour"], type=click.Choice(["red", "green"]), help="Hue.")])
    block = manpages.block(command)
    assert ".It Fl \\-colour Cm red | green\nHue.\n" in block
    page = f".Sh OPTIONS\n{manpages.BEGIN}\nold\n{manpages.END}\n.Sh EXAMPLES\n"
    assert manpages.fill(page, command) == f".Sh OPTIONS\n{block}\n.Sh EXAMPLES\n"
    with pytest.raises(ValueError, match="markers"):
        manpages.fill(page.replace(manpages.END, ""), command)


def test_generated_parts_are_fresh(capsys):
    done = subprocess.run([sys.executable, ROOT / "tools" / "manpages.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run: python tools/manpages.py\n{done.stdout}{done.stderr}"
    stale = manpages.renew(completions.files(), check=True)
    assert not stale, f"run: python tools/completions.py\n{capsys.readouterr().out}"


def test_a_stale_page_is_told_and_renewed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(manpages, "ROOT", tmp_path)
    folder = tmp_path / "man" / "man1"
    folder.mkdir(parents=True)
    for name in COMMANDS:
        (folder / f"{name}.1").write_text(source(name).replace("Show this message", "Show that message"), "utf-8")
    assert manpages.renew(manpages.pages(), check=True) == 1
    assert "-Show that message" in capsys.readouterr().out
    assert manpages.renew(manpages.pages(), check=False) == 0
    assert (folder / "lem-info.1").read_text("utf-8") == source("lem-info")
    assert manpages.renew(manpages.pages(), check=True) == 0


@each_command
def test_sections(name):
    headings = re.findall(r"^\.Sh (.+)$", source(name), re.M)
    assert [h for h in headings if h in SECTIONS] == list(SECTIONS)
    assert f".Dt {name.upper()} 1" in source(name)
    assert re.search(rf"^\.Nm {name}$", section(source(name), "NAME"), re.M)


def test_every_command_that_is_installed_has_a_page():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == set(COMMANDS) == {p.stem for p in PAGES if p.suffix == ".1"}


@each_page
def test_the_text_names_no_option_that_is_not_there(page):
    known = {name for command in COMMANDS.values() for option in manpages.options(command) for name in option.opts}
    own = known
    text = page.read_text("utf-8")
    if page.stem in COMMANDS:
        own = {name for option in manpages.options(COMMANDS[page.stem]) for name in option.opts}
        named = re.findall(r"Fl (\S+)", section(text, "SYNOPSIS"))
        assert named and {"-" + plain(n) for n in named} <= own
    assert {"-" + plain(n) for n in re.findall(r"Fl (\S+)", text)} <= known


@each_command
def test_environment_is_that_of_the_options(name):
    reads = {option.envvar for option in manpages.options(COMMANDS[name]) if option.envvar}
    listed = re.findall(r"^\.It Ev (LEM_\w+)", source(name), re.M)
    assert set(listed) == reads


def test_shapes_quantisers_and_scales_are_all_defined():
    from lemtools.catalogue.operations import SHAPES

    text = source("lem-fragment")
    values = {o.name: set(manpages.choices(o)) for o in manpages.options(COMMANDS["lem-fragment"])}
    assert words(section(text, "Masks", "Ss")) == set(SHAPES)
    assert words(section(text, "Bits and quantisers", "Ss")) == values["quantizer"] | values["scale"]


def test_methods_are_all_defined():
    text = source("lem-reconstruct")
    (method,) = (o for o in manpages.options(COMMANDS["lem-reconstruct"]) if o.name == "method")
    stored = words(section(text, "Methods that recall from a store", "Ss"))
    assert stored == {"recall", "gaussian", "power"}
    learned = words(section(text, "Methods that ask a network", "Ss"))
    assert learned == {"net", "ensemble"}
    assert words(section(text, "Dreams", "Ss")) == {"dream"}
    assert words(section(text, "Texts", "Ss")) == {"continue", "fill", "ngram"}
    trained = {"net", "ensemble", "dream", "continue", "fill", "ngram"}
    assert words(section(text, "Methods without a store", "Ss")) == set(manpages.choices(method)) - stored - trained


def test_recipes_networks_and_what_a_run_is_told_are_all_defined():
    from lemtools.catalogue.networks import NETWORKS
    from lemtools.catalogue.recipes import RECIPES
    from lemtools.train.augment import AUGMENT

    text = source("lem-train")
    values = {o.name: set(manpages.choices(o)) for o in manpages.options(COMMANDS["lem-train"])}
    assert words(section(text, "Recipes", "Ss")) == set(RECIPES)
    assert words(section(text, "Networks", "Ss")) == set(NETWORKS)
    assert words(section(text, "Objectives and weighting", "Ss")) == values["weighting"] | values["predicts"]
    assert words(section(text, "Data", "Ss")) == {*AUGMENT, "zoom"}


def test_usual_settings_of_the_recipes_are_those_told():
    from lemtools.catalogue.recipes import RECIPES

    entries = re.split(r"^\.It Cm ", section(source("lem-train"), "Recipes", "Ss"), flags=re.M)[1:]
    for entry in map(plain, entries):
        recipe = RECIPES[entry.split()[0]]
        rate = re.search(r"rate ([\de.-]+),", entry)
        assert (rate and float(rate[1]), int(re.search(r"batch (\d+)", entry)[1])) == (recipe.lr, recipe.batch)
        named = re.findall(r"^\.Cm (\S+)\nfor ([a-z, ]+)", entry, re.M)
        kinds = {
            "images": "image",
            "spectra": "spectrum",
            "fields": "field",
            "embeddings": "embedding",
            "tokens": "tokens",
            "sounds": "audio",
        }
        told = {kinds[k]: net for net, text in named for k in re.findall("|".join(kinds), text)}
        assert told == {kind: net for kind, net in recipe.arch.items() if net}


def test_properties_of_the_networks_are_those_told():
    from lemtools.catalogue.networks import NETWORKS

    entries = re.split(r"^\.It Cm ", section(source("lem-train"), "Networks", "Ss"), flags=re.M)[1:]
    for entry in map(plain, entries):
        takes = {option.name: option.value() for option in NETWORKS[entry.split()[0]].options}
        told = entry.split("Properties: ")[1].split(".\n.El")[0]
        assert set(takes) <= set(re.findall(r"\w+", told)), entry
        for name, value in re.findall(r"(\w+)[^,()]* \(([^;)]+)", re.sub(r", the [^(]*|on [^(]*", " ", told)):
            usual = takes[name]
            assert (str(usual) if isinstance(usual, str) else json.loads(json.dumps(usual))) == (
                value if isinstance(usual, str) else json.loads(re.sub(r"^\.", "0.", value))
            ), (name, value)


def test_lines_of_a_dry_run_and_keys_of_a_log_are_all_defined(bench):
    options = "--arch mlp --width 4 --fragment '--mask .5' --steps 2 --holdout 1 -o m.safetensors"
    command = f"lem-train feedforward --data faces/ {options}"
    forked(bench, f"{command} --log-file log.jsonl --device cpu")
    printed = {line.split("\t")[0] for line in forked(bench, f"{command} --dry-run").stdout.decode().splitlines()}
    assert printed and words(section(source("lem-train"), "Dry run", "Ss")) == printed
    (record,) = map(json.loads, open(bench / "log.jsonl"))
    assert words(section(source("lem-train"), "Log", "Ss")) == set(record)


def test_metrics_are_all_defined_and_in_help():
    from lemtools.compare import METRICS

    names = set(METRICS)
    assert words(section(source("lem-compare"), "Metrics", "Ss")) == names
    shown = told("lem-compare")["--metric"].replace("\n", " ")
    assert names <= set(re.findall(r"[a-z][a-z0-9-]*", shown))


def test_facts_of_lem_info_are_all_defined(tmp_path):
    from lemtools.media.describe import describe

    (tmp_path / "empty").write_bytes(b"")
    assert words(section(source("lem-info"), "DESCRIPTION")) == set(describe(str(tmp_path / "empty")))


# examples


@pytest.mark.parametrize("where, line", LINES, ids=[f"{w}: {x}" for w, x in LINES])
def test_examples_parse(where, line):
    for name, *arguments in stages(line):
        if name == "torchrun":
            from torch.distributed.run import parse_args

            launched = parse_args(arguments)
            assert launched.no_python and launched.nproc_per_node == "2"
            name, arguments = launched.training_script, launched.training_script_args
        context = COMMANDS[name].make_context(name, arguments)
        if name == "lem-train":
            from lemtools.cli.train import operations

            assert all(map(operations, context.params["fragment"]))
        if name == "lem-fragment":
            from lemtools.cli.fragment import ordered

            assert ordered(context.meta["order"], context.params)


def test_an_example_with_a_wrong_option_would_be_noticed():
    (_, *arguments), _ = stages("lem-fragment --mask .5 --mask-form pixel x | lem-info > y")
    with pytest.raises(click.NoSuchOption):
        COMMANDS["lem-fragment"].make_context("lem-fragment", arguments)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with the files that the examples name, and the commands in bin/."""
    import soundfile

    from lemtools.media import textgrid
    from lemtools.media.images import encode_image as encode
    from lemtools.signal import Signal
    from lemtools.stream import save_tensors, write_one

    here = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:176, :176] / 176
    photos = [((np.sin(9 * x + k) * np.cos(7 * y) + 1) * 120).astype(np.uint8)[None] for k in range(2)]
    faces = [rng.integers(0, 256, (1, 12, 10), np.uint8) for _ in range(4)]
    for folder, images in (("photos", photos), ("recalled", photos), ("faces", faces)):
        (here / folder).mkdir()
        for k, image in enumerate(images):
            (here / folder / f"{k}.png").write_bytes(encode(image // 4 * 4 if folder == "recalled" else image, "PNG"))
    (here / "photo.png").write_bytes(encode(photos[0], "PNG"))
    (here / "recalled.png").write_bytes(encode(photos[0] // 4 * 4, "PNG"))
    np.save(here / "embeddings.npy", rng.standard_normal((32, 16)).astype(np.float32))
    np.save(here / "features.npy", rng.standard_normal((32, 16)).astype(np.float32))
    np.save(here / "classes.npy", np.arange(32) % 2)
    brains = rng.random((3, 32, 32))
    np.save(here / "brains.npy", np.abs(brains - brains.swapaxes(1, 2)))
    (here / "model").mkdir()
    (here / "model" / "config.json").write_text("{}")
    save_tensors(str(here / "model" / "model.safetensors"), {"q.weight": rng.standard_normal((8, 16))}, {})
    np.save(here / "others.npy", rng.standard_normal((32, 12)).astype(np.float32))
    (here / "book.txt").write_text("what is gone is gone, and none knew what was here\n" * 40)
    soundfile.write(here / "rooster.flac", np.sin(np.arange(4000) / 9), 8000)
    with open(here / "store.safetensors", "wb", buffering=0) as file:
        write_one([Signal("image", np.stack(faces), last=True)], file)
    for name in ("truth", "guess"):
        (here / f"{name}.TextGrid").write_text(textgrid.write([textgrid.Tier("phones", [(0, 1, "h"), (1, 2, "a")])]))
    (here / "fragments").mkdir()
    with open(here / "fragments" / "0.safetensors", "wb", buffering=0) as file:
        write_one([Signal("image", np.stack(photos), last=True)], file)
    shutil.copy(here / "fragments" / "0.safetensors", here / "fragments.safetensors")
    (here / "bin").mkdir()
    for name in COMMANDS:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lemtools.cli.{name[4:]} import main; main()"
        script = here / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
        script.chmod(0o755)
    return here


# the other lines load torch, or do what one of these does
QUICK = [
    line
    for where, line in LINES
    if where in ("lem-fragment.1", "lem-compare.1", "lem-info.1")
    and not line.endswith("| lem-reconstruct > recalled.png")
    and "--plot" not in line
    and line not in ("lem-compare photo.png recalled.png", "lem-info fragments.safetensors")
]


def run(bench, line: str):
    """A line of shell in the bench."""
    if not shutil.which("bash"):
        pytest.skip("bash is not here")
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"PATH=$PWD/bin:$PATH; {line}"],
        cwd=bench,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=one,
    )
    assert done.returncode == 0, done.stderr
    return done


def forked(bench, line: str):
    """A pipeline, its commands one after the other in forks of this process: torch is loaded once."""
    import torch

    given = b""
    for name, *arguments in stages(line):
        done = lem_fork(
            name[4:], *arguments, stdin=given, cwd=bench, seconds=60, prepare=lambda: torch.set_num_threads(1)
        )
        assert done.returncode == 0, (line, done.stderr.decode())
        given = done.stdout
    return done


@pytest.mark.parametrize("line", dict.fromkeys(QUICK))
def test_examples_run(bench, line):
    done = run(bench, line)
    written = [w for w in stages(line)[-1][2:] if w.endswith((".png", ".safetensors"))] if "-o" in line else []
    assert all((bench / w).stat().st_size for w in written)
    if stages(line)[-1][0] in ("lem-compare", "lem-info") and ">" not in line:
        assert done.stdout.strip()


def test_examples_of_training_run(bench):
    """One after the other, since one uses what another made; shorter, and on the small memories of the bench."""
    lines = [line for where, line in LINES if where == "lem-train.1" and not line.startswith("torchrun")]
    assert len(lines) >= 6
    for line in lines:
        short = f"{line} --steps 2 --batch 2 --holdout 1 --device cpu" if line.startswith("lem-train") else line
        done = forked(bench, short.replace(" --crop 128", " --crop 16"))
        if "--dry-run" in line:
            assert b"parameters\t" in done.stdout
        elif line.startswith("lem-train"):
            assert (bench / stages(line)[0][-1]).stat().st_size and b"2 steps" in done.stderr
        elif "-o" in line:
            assert list((bench / stages(line)[-1][-1]).iterdir())


# how it looks


@each_page
def test_groff_renders_without_warnings(page):
    if not shutil.which("groff"):
        pytest.skip("groff is not here")
    done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", page], capture_output=True, text=True)
    if "mdoc" in done.stderr and "can't" in done.stderr:
        pytest.skip("groff's mdoc macros are not here")
    assert done.returncode == 0 and done.stderr == ""
    assert page.stem in re.sub(".\b", "", done.stdout)  # bold is overstruck


@each_page
def test_mandoc_finds_nothing_to_warn_of(page):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not here")
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", page], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


# completion


def complete(name: str, *line: str) -> list[str]:
    """What the completion file of bash offers for the last word of a line."""
    if not shutil.which("bash"):
        pytest.skip("bash is not here")
    script = """
        source "$0"; compopt() { :; }
        rule=$(complete -p "$1"); [[ $rule == *" -F "* ]] || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); function=${rule#*-F }; ${function% *}
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    file = ROOT / "completion" / "bash" / name
    done = subprocess.run(["bash", "-c", script, file, name, *line], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.split()


def test_bash_completes_options_values_and_files():
    assert sorted(complete("lem-fragment", "--ma")) == ["--mask", "--mask-shape", "--max-bytes"]
    assert complete("lem-fragment", "--quantizer", "") == [
        *("uniform", "lloyd-max", "trellis", "mu-law", "absmax", "zero-point", "nf4")
    ]
    assert complete("lem-fragment", "--quantizer", "=", "l") == ["lloyd-max"]
    assert complete("lem-fragment", "--mask-shape", "p") == ["pixel", "patch:"]
    assert complete("lem-compare", "--min", "ps") == ["psnr=", "psd-slope="]
    assert complete("lem-train", "re") == ["recurrent"] and complete("lem-train", "--predict", "e") == ["eps"]
    assert complete("lem-train", "--augment", "d") == ["dihedral"]
    assert complete("lem-train", "--data", "pypro") == ["pyproject.toml"]
    assert complete("lem-fragment", "--bits", "") == []
    assert complete("lem-fragment", "pypro") == complete("lem-reconstruct", "-o", "pypro") == ["pyproject.toml"]


@each_command
def test_bash_offers_every_option(name):
    assert set(complete(name, "-")) == set(helped(name))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_files_are_understood_by_their_shell(shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here")
    files = sorted((ROOT / "completion" / shell).iterdir())
    assert len(files) == len(COMMANDS)
    for file in files:
        done = subprocess.run([shell, "-n", file], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == ""


@each_command
def test_zsh_and_fish_files_name_every_option(name):
    zsh = (ROOT / "completion" / "zsh" / f"_{name}").read_text("utf-8")
    fish = (ROOT / "completion" / "fish" / f"{name}.fish").read_text("utf-8")
    assert zsh.startswith(f"#compdef {name}\n")
    assert set(re.findall(r"^ {4}'(?:\*|\([^)]*\))(--?[\w-]+)", zsh, re.M)) == set(helped(name))
    spelled = {f"--{w}" for w in re.findall(r" -l ([\w-]+)", fish)} | {f"-{w}" for w in re.findall(r" -s (\w)\b", fish)}
    assert spelled == set(helped(name))


def test_click_completes_through_the_entry_point():
    """For shells beyond those three: click's own protocol is not cut off by main()."""
    asked = {"_LEM_FRAGMENT_COMPLETE": "bash_complete", "COMP_WORDS": "lem-fragment --ma", "COMP_CWORD": "1"}
    offered = lem("fragment", env=asked).stdout.decode().split()
    assert {"plain,--mask", "plain,--mask-shape"} <= set(offered)


def test_what_the_wheel_installs():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = config["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert {k: v for k, v in shared.items() if k.startswith(("man", "completion"))} == {
        "man": "share/man",
        "completion/bash": "share/bash-completion/completions",
        "completion/zsh": "share/zsh/site-functions",
        "completion/fish": "share/fish/vendor_completions.d",
    }
