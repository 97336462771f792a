"""Names of files and folders: all that stands in a folder is read or reported, and a name is taken as it is written."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from helpers.commands import lem_fork
from lemtools.media import Target, inputs_named, load
from lemtools.media.find import expand
from lemtools.signal import LemError, name_of, path_of, stem

RNG = np.random.default_rng(11)


def picture(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (6, 7, 3), np.uint8)).save(path, "PNG")


def found(path) -> tuple[list[str], list[str]]:
    """(names, what is reported) of an input."""
    told: list[LemError] = []
    return [name for _, name in expand([str(path)], told.append)], [str(error) for error in told]


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("a.png", "a"),
        ("a/b.c/d.jpeg", "a/b.c/d"),
        ("C#4.png", "C#4"),
        ("C#m.png", "C#m"),
        ("C#4", "C#4"),
        ("a.png#2", "a#2"),
        ("C#4.png#12", "C#4#12"),
        ("scan.001", "scan.001"),
        ("t=0.25", "t=0.25"),
        ("x.0001.png", "x.0001"),
        ("Dr. Who", "Dr. Who"),
        ("a.b/c", "a.b/c"),
        (".png", ".png"),
        ("a/.png", "a/.png"),
        ("digits.idx.gz", "digits.idx"),
        ("song.mp3", "song"),
    ],
)
def test_stem(name, wanted):
    assert stem(name) == wanted


def test_names_and_paths_are_inverse():
    for path in ("plain", "é", os.fsdecode(b"\xff\xfe.png")):
        assert path_of(name_of(path)) == path


def test_all_of_a_folder_is_read_or_reported(tmp_path):
    for name in ("in/a.png", "in/deep/b.png", "else/c.png"):
        picture(tmp_path / name)
    (tmp_path / "in/more").symlink_to("../else")
    (tmp_path / "in/circle").symlink_to("../in")
    (tmp_path / "in/lost.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in/pipe")
    names, told = found(tmp_path / "in")
    assert sorted(names) == ["a.png", "deep/b.png", "more/c.png"]
    assert sorted(told) == [
        f"{tmp_path}/in/lost.png: a link to nothing",
        f"{tmp_path}/in/pipe: neither a file nor a folder; a pipe is read where it is named itself",
    ]
    with pytest.raises(LemError, match="a link to nothing|a pipe is read"):
        list(expand([str(tmp_path / "in")]))


def test_a_folder_that_may_not_be_read(tmp_path):
    """The others are done. As nobody, for whom it is locked: root may read it."""
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/locked/b.png")
    (tmp_path / "in/locked").chmod(0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)

    def nobody():
        if os.geteuid() == 0:
            os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)

    above = [tmp_path, *tmp_path.parents]
    closed = [folder for folder in above if not folder.stat().st_mode & 1]
    if any(folder.stat().st_uid != os.geteuid() for folder in closed):
        pytest.skip("nobody cannot come here")
    modes = [folder.stat().st_mode for folder in closed]
    try:
        for folder, mode in zip(closed, modes):
            folder.chmod(mode | 0o111)
        done = lem_fork("fragment", "--bits", "3", "in", "-o", "out/", cwd=tmp_path, prepare=nobody)
    finally:
        for folder, mode in zip(closed, modes):
            folder.chmod(mode)
        (tmp_path / "in/locked").chmod(0o755)
    assert (done.returncode, done.stderr) == (2, b"lem-fragment: error: in/locked: Permission denied\n")
    assert os.listdir(tmp_path / "out") == ["a.safetensors"]


def test_a_file_that_is_called_as_standard_input_is(tmp_path):
    picture(tmp_path / "-")
    for given in (".", "?", "./-"):
        done = lem_fork("fragment", "--bits", "3", given, "-o", "out/", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert os.listdir(tmp_path / "out") == ["-.safetensors"]
        os.remove(tmp_path / "out/-.safetensors"), os.rmdir(tmp_path / "out")


def test_deep_folders(tmp_path):
    """Deeper than Python calls itself; and deeper than the system allows is an error."""
    here, depth = os.getcwd(), 1500
    try:
        os.chdir(tmp_path)
        os.mkdir("in"), os.chdir("in")
        for _ in range(depth):
            os.mkdir("d"), os.chdir("d")
        Image.new("L", (4, 4)).save("x.png")
        os.chdir(here)
        done = lem_fork("fragment", "--bits", "3", "in", "-o", "out/", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert os.path.exists(tmp_path / "out" / ("d/" * depth + "x.safetensors"))
    finally:
        os.chdir(here)  # what pytest would clean up with calls itself, too
        subprocess.run(["rm", "-rf", tmp_path / "in", tmp_path / "out"], check=True)
    with pytest.raises(OSError, match="too long"):
        list(load(str(tmp_path) + "/d" * 3000))


@pytest.mark.parametrize("coded", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_lists_as_windows_writes_them(tmp_path, monkeypatch, coded):
    monkeypatch.chdir(tmp_path)
    text = ("\ufeff" if coded == "utf-16-be" else "") + "a/é.png\r\n\r\nb c.png\r\n"
    (tmp_path / "list").write_bytes(text.encode(coded))
    assert inputs_named([], "list") == ["a/é.png", "b c.png"]
    (tmp_path / "odd\r").touch()
    (tmp_path / "list").write_bytes(b"odd\r\nlast")
    assert inputs_named(["first"], "list") == ["first", "odd\r", "last"]


def test_a_list_with_zeros_between_its_names(tmp_path):
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    done = lem_fork("fragment", "--bits", "3", "--files-from", "list", "-o", "out/", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.endswith(b"names stand one a line\n") and done.stderr.count(b"\n") == 1


def test_names_with_signs_and_numbers_pair_and_part(tmp_path):
    for name in ("C#4", "D4", "scan.001", "scan.002", "100%d"):
        picture(tmp_path / f"a/{name}.png")
    done = lem_fork("fragment", "--bits", "3", "a", "-o", "frag/", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    for name in ("C#4", "D4", "scan.001", "scan.002", "100%d"):
        os.rename(tmp_path / f"a/{name}.png", tmp_path / f"a/{name}")
    for more in ([], ["--pair", "name"]):
        done = lem_fork("compare", "--metric", "mse", *more, "a", "frag", cwd=tmp_path)
        assert b"error" not in done.stderr.replace(b"fragment", b"") or b"is itself" in done.stderr, done.stderr
    assert sorted(os.listdir(tmp_path / "frag")) == [
        f"{name}.safetensors" for name in ("100%d", "C#4", "D4", "scan.001", "scan.002")
    ]


def test_a_percent_sign_in_a_folder_is_no_pattern(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "10%drop").mkdir()
    (tmp_path / "5%d.png").touch()
    assert not Target(f"{tmp_path}/10%drop/x.png").pattern and Target(f"{tmp_path}/10%drop/%d.png").pattern
    for out, made in (
        ("10%drop/x.png", "10%drop/x.png"),
        ("10%drop/y%02d.png", "10%drop/y00.png"),
        ("5%d.png", "5%d.png"),
    ):
        done = lem_fork("fragment", "--bits", "3", "a.png", "-o", out, cwd=tmp_path)
        assert done.returncode == 0 and (tmp_path / made).stat().st_size > 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["10%drop", "5%d.png", "a.png"]
