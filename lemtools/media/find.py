"""From the paths of a command to its files, and the formats of files by their first bytes."""

import codecs
import glob
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import stream
from ..signal import LemError, name_of
from ..stream.files import blamed

SAMPLES = {"kodim23": "kodim23-384x256.png", "rooster": "rooster.flac"}

# (how its first 16 bytes look, format, reader family); the first that fits
_MAGIC = [
    (re.compile(look, re.DOTALL), form, family)
    for look, form, family in (
        (rb"\x89PNG\r\n\x1a\n", "PNG", "image"),
        (rb"\xff\xd8\xff", "JPEG", "image"),
        (rb"RIFF....WEBP", "WEBP", "image"),
        (rb"GIF8[79]a", "GIF", "image"),
        (rb"....ftyp(avif|avis|mif1|msf1)", "AVIF", "image"),
        (rb"P[1-6]\s+(#|\d+\s)", "PPM", "image"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF", "image"),
        (rb"(RIF[FX]|RF64)....WAVE", "WAV", "sound"),
        (rb"fLaC", "FLAC", "sound"),
        (rb"OggS", "OGG", "sound"),
        (rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "MP3", "sound"),
        (rb"\x93NUMPY", "NPY", "npy"),
        (rb"PK\x03\x04", "NPZ", "npz"),
        (rb"PAR1", "PARQUET", "parquet"),
        (rb"\x1f\x8b", "GZIP", "gzip"),
        (rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x04]", "IDX", "idx"),
        (rb'(\xef\xbb\xbf)?File type = "', "TextGrid", "textgrid"),
        (rb"\xfe\xff\0F\0i\0l\0e\0 \0t\0y|\xff\xfeF\0i\0l\0e\0 \0t\0y\0", "TextGrid", "textgrid"),
        (rb"\x80[\x02-\x05]", "pickle", "pickle"),
        (rb"ooBinaryFile", "binary Praat file", "foreign"),
        (rb'"Praat chronolog', "chronological TextGrid", "foreign"),
        (rb"%PDF-", "PDF", "foreign"),  # what may look like text and is none
        (rb"P7\n[#A-Z]", "PAM", "foreign"),
        (rb"P[Ff]\n\d", "PFM", "foreign"),
    )
]
FORMATS = (
    *dict.fromkeys(form for _, form, kind in _MAGIC if kind not in ("gzip", "pickle", "foreign")),
    "safetensors",
    "CSV",
    "TSV",
)
_CONFIG = 1 << 20  # characters of a config.json that are looked at
# a file of such a name is never passed over, whatever it holds: an empty or a wrong one is an error
_MEDIA = frozenset(
    "png jpg jpeg webp gif avif ppm pgm tif tiff wav flac ogg mp3 npy npz parquet gz safetensors".split()
)


def sniff(head: bytes) -> tuple[str, str]:
    """(format, family) of an input by its first 16 bytes. Family 'text' is what nothing else fits and UTF-8 allows."""
    if stream.looks_like_safetensors(head):
        return "safetensors", "stream"
    return next(((form, family) for look, form, family in _MAGIC if look.match(head)), ("TXT", "text"))


def is_labels(name: str, head: bytes) -> bool:
    """Whether a file of that name, with these first bytes, holds labels with times: what lies beside sounds and describes them."""
    return sniff(head)[1] == "textgrid" or head.startswith(b'{"annotation"') or bool(_LABELS.search(name))


Report = Callable[[LemError], None]
_LABELS = re.compile(r"(\.lab|_annot\.json)$", re.IGNORECASE)


def expand(
    paths: Iterable[str], report: Report | None = None, lone: bool = False, labels: bool | None = False
) -> Iterator[tuple[str, str]]:
    """(path, name) of every input file. Folders are walked in sorted order, patterns the shell left alone are expanded.

    A folder that is a model is one input. In any other, hidden files are passed over, and so are text files where there is anything else (a SOURCE.txt), and files of
    labels beside sounds and other media; with `labels` sounds beside files of labels instead, and neither where it is None.
    report: called with the error of a pattern or folder that holds nothing, and of whatever in a folder cannot be read;
    None: it is raised. lone: that of a pattern or folder itself is raised in any case.
    """
    for path in paths:
        try:
            yield from list(_files(path, report, labels))
        except LemError as error:
            if report is None or lone:
                raise
            report(error)


def _files(path: str, report: Report | None, labels: bool | None) -> Iterator[tuple[str, str]]:
    if "\0" in path:
        raise LemError(f"{path}: no name of a file; names stand one a line")
    if path != "-" and not os.path.lexists(path) and glob.has_magic(path):
        found = sorted(glob.glob(path))
        if not found:
            raise LemError(f"{path}: nothing matches")
        for each in found:
            yield from _files(_no_pipe(each), report, labels)
    elif path != "-" and os.path.isdir(path) and not is_model(path):
        files = sorted(map(Path, walk(path, report)))
        files = _taken(files, labels)
        if not files:
            raise LemError(f"{path}: a folder without files")
        for file in files:
            yield _no_pipe(str(file)), name_of(file.relative_to(path).as_posix())
    else:
        yield path, name_of(os.path.basename(path))


def is_model(path: str) -> bool:
    """Whether a folder is a model: it has a config.json beside files of tensors, or one that says so itself."""
    config = os.path.join(path, "config.json")
    if not os.path.isfile(config):
        return False
    if any(name.endswith(".safetensors") for name in os.listdir(path)):
        return True
    try:
        with open(config, encoding="utf-8") as file:
            said = json.loads(file.read(_CONFIG))
        return isinstance(said, dict) and not said.keys().isdisjoint(("architectures", "model_type"))
    except (OSError, ValueError, RecursionError):
        return False


def every_file(paths: Iterable[str]) -> Iterator[str]:
    """All that is read of the paths of a command: of a model the folder, and each of its files. What cannot be read is passed over."""
    ignored: Report = lambda error: None
    for path, _ in expand(paths, report=ignored, labels=None):
        yield path
        if path != "-" and os.path.isdir(path):
            yield from walk(path, ignored)


def _no_pipe(found: str) -> str:
    """The path of a file that was found: a file called '-' is no standard input."""
    return "./-" if found == "-" else found


def walk(folder: str, report: Report | None) -> Iterator[str]:
    """Every file that is not hidden, in folders behind links too, each folder once. What cannot be read is reported."""

    def fail(path: str, problem: str) -> None:
        error = LemError(f"{path}: {problem}")
        if report is None:
            raise error
        report(error)

    seen, waiting = set(), [folder]
    while waiting:  # (os.walk, which calls itself, ends at a thousand folders)
        top = waiting.pop()
        try:
            here = os.stat(top)
            if (here.st_dev, here.st_ino) in seen:
                continue
            seen.add((here.st_dev, here.st_ino))
            names = [name for name in os.listdir(top) if not name.startswith(".")]
        except OSError as error:
            fail(top, error.strerror)
            continue
        for path in (os.path.join(top, name) for name in names):
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                fail(path, "a link to nothing" if os.path.islink(path) else error.strerror)
                continue
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                yield path
            else:
                fail(path, "neither a file nor a folder; a pipe is read where it is named itself")


def _taken(files: list[Path], labels: bool | None) -> list[Path]:
    """Those files of a folder that are not passed over."""
    found = {file: _nature(file) for file in files}
    natures = set(found.values())
    passed = {"text"} if natures & {"labels", "sound", "media"} else set()
    if labels and "labels" in natures:
        passed.add("sound")
    elif labels is False and natures & {"sound", "media"}:
        passed.add("labels")
    return [file for file in files if found[file] not in passed]


def _nature(path: Path) -> str:
    """What a file is, by its name or first bytes: 'sound', 'labels', other 'media' or 'text'; '' for what cannot be read or is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    if is_labels(path.name, head):
        return "labels"
    family = sniff(head)[1]
    if path.suffix[1:].lower() in _MEDIA or family not in ("text", "foreign"):
        return "sound" if family == "sound" else "media"
    return "" if b"\0" in head else "text"


def inputs_named(paths: Iterable[str], files_from: str | None = None) -> list[str]:
    """The inputs of a command: its arguments, then the lines of `files_from` ('-' is stdin)."""
    named = list(paths)
    if files_from:
        shown = "standard input" if files_from == "-" else files_from
        with blamed(shown), open(0 if files_from == "-" else files_from, "rb", closefd=files_from != "-") as file:
            lines = _lines(file.read())
        if not lines:
            raise LemError(f"{shown}: names no input")
        named += lines
    return named


def _lines(raw: bytes) -> list[str]:
    """The names in a list, one a line, as Windows writes them, too: with a mark at the head, in UTF-16, with CR LF."""
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raw = raw.decode("utf-16", "replace").encode("utf-8")
    lines = (os.fsdecode(line) for line in raw.removeprefix(codecs.BOM_UTF8).split(b"\n") if line.strip())
    return [line.removesuffix("\r") if not os.path.lexists(line) else line for line in lines]


def sample(name: str) -> str:
    """Path of a memory that comes with the package: a key of SAMPLES."""
    return str(Path(__file__).parent.parent / "data" / SAMPLES[name])
