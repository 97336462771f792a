"""What the commands say: help of one thing alone, words that are not known, ranges, notes of what was left out."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lemtools import media
from lemtools.catalogue.recipes import RECIPES
from lemtools.cli.compare import cli as compare
from lemtools.cli.els import cli as els
from lemtools.cli.encode import cli as encode
from lemtools.cli.fragment import cli as fragment
from lemtools.cli.reconstruct import cli as reconstruct
from lemtools.cli.train import cli as train
from lemtools.compare import Comparison, pair
from lemtools.media import Target
from lemtools.signal import LemError, Signal
from lemtools.train.settings import Settings, resolve

CLIS = {
    "fragment": fragment,
    "encode": encode,
    "reconstruct": reconstruct,
    "train": train,
    "compare": compare,
    "els": els,
}


def said(line: str) -> str:
    """What a command prints, its error included, in one line."""
    command, *args = line.split()
    done = CliRunner().invoke(CLIS[command], args)
    return " ".join((done.output + str(done.exception or "")).split())


@pytest.mark.parametrize(
    "line, shown, hidden",
    [
        ("encode --encoder patches --help", "--decode", ("--fit", "--patch-back", "--model ")),
        ("encode --encoder minilm --help", "--hf", ("--fit", "--decode", "--patch-back", "--model ")),
        ("encode --encoder rvq --help", "--patch-back", ()),
        ("encode --encoder activations --help", "--layer", ("x<=None",)),
        ("reconstruct --method smooth --help", "--lost", ("--memory", "--model ")),
        ("reconstruct --method net --help", "--model", ("--memory STORE",)),
        ("train lm --help", "lm, gru-lm, delta-lm, dense-lm", ("unet", "--groups", "image|audio", "conv ")),
        ("train diffusion --help", "resnet, unet, mlp-denoiser", ("gru", "rvq", "lm,")),
        ("train rvq --help", "--kind [embedding]", ("weights are saved", "network")),
    ],
)
def test_help_of_one_thing_shows_what_it_takes(line, shown, hidden):
    text = said(line).split("Examples:")[0]
    text = text[text.index("What it does:") :]
    assert shown in text and not [word for word in hidden if word in text]


@pytest.mark.parametrize(
    "line, says",
    [
        ("train feedforwrd --help", "'feedforwrd' is not one of 'feedforward'"),
        ("train feedforwrd --help", "; near it: feedforward"),
        ("reconstruct --method smoth --help", "; near it: smooth"),
        ("encode --encoder patchs x", "; near it: patches"),
        ("els --bank x --machines bbel,is", "; near it: bbels"),
        ("fragment --bit 3 x", "No such option --bit; near it: --bits"),
        ("fragment --masc .5 x", "No such option --masc; near it: --mask"),
        ("train --preset quick", "It is one of feedforward, recurrent"),
        ("fragment --mask -1 x", "'-1' is not a number from 0 to 1, nor A-B"),
        ("fragment --mask nan x", "'nan' is not a number from 0 to 1, nor A-B"),
        ("fragment --noise inf x", "'inf' is not a number from 0, nor A-B"),
        ("fragment --bits 1.5 x", "'1.5' is not a whole number from 1 to 16, nor A-B"),
        ("fragment --bits 3 --seed abc x", "'abc' is not a valid integer."),
        (
            "compare a b --plot foo:x.png",
            "no view 'foo'; there are sheet, pca, umap; for a file of that name write ./foo:x.png",
        ),
        ("compare a b --plot pac:x.png", "near it: pca"),
        ("els --bank nothere", "--bank nothere: No such file"),
        ("train feedforward --data x --fragment --masc=1 -o m.safetensors", "lem-fragment --help shows these options"),
        ("fragment --bits 3 --max-bytes 1QiB x", "bytes, as in 512M or 1GiB"),
    ],
)
def test_what_is_wrong_and_the_way_out(line, says):
    assert says in said(line)


def test_only_near_words_are_offered_the_nearest_first():
    assert said("fragment --bit 3 x").split("near it:")[1].split() == ["--bits", "2"]  # and the status


def test_sizes_of_bytes_are_written_in_one_way(tmp_path):
    (tmp_path / "x.txt").write_text("x" * 3000)
    assert "larger than 2048 bytes" in said(
        f"fragment --mask .5 --max-bytes 2KiB {tmp_path}/x.txt -o {tmp_path}/y.st --to safetensors"
    )


def save(path, width=8, height=6, mode="RGB"):
    values = np.random.default_rng(len(str(path))).integers(0, 255, (height, width, len(mode)), np.uint8)
    Image.fromarray(values.squeeze(), mode=None).save(path)
    return values


def test_nothing_transparent_is_said(tmp_path):
    save(tmp_path / "x.png")
    notes: list[str] = []
    list(media.load([str(tmp_path / "x.png")], lost="alpha", note=notes.append))
    assert len(notes) == 1 and "nothing of it is transparent" in notes[0]


def test_a_mask_is_resized_with_its_image(tmp_path):
    save(tmp_path / "x.png", 8, 4)
    lost = np.zeros((4, 8), np.uint8)
    lost[:, 2:4] = 255
    Image.fromarray(lost).save(tmp_path / "m.png")
    how = {"lost": str(tmp_path / "m.png"), "note": str}
    (half,) = media.load([str(tmp_path / "x.png")], size=(4, 2), **how)
    assert half.data.shape[2:] == (2, 4) and not half.mask[..., 1].any() and half.mask[..., 3].all()
    (cut,) = media.load([str(tmp_path / "x.png")], size=(4, 4), **how)  # the middle four columns, of which two are lost
    assert cut.mask[0, 0].tolist() == [[False, False, True, True]] * 4
    save(tmp_path / "y.png", 4, 2)
    with pytest.raises(LemError, match="a mask has the size of its image"):
        list(media.load([str(tmp_path / "y.png")], size=(8, 4), **how))


def test_how_many_images_were_cut(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png")
    notes: list[str] = []
    list(media.load([str(tmp_path)], size=(4, 4), note=notes.append))
    assert len(notes) == 2 and notes[1] == "2 more images were cut in the same way before resizing"


def test_two_files_that_would_become_one_are_refused_first(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "a.jpg")
    save(tmp_path / "b.png")
    files = [str(tmp_path / name) for name in ("b.png", "a.png", "a.jpg")]
    target = Target(f"{tmp_path}/out/", "png")
    with pytest.raises(LemError, match=r"a.png: two items would go into this file \(.*a.png and .*a.jpg\)"):
        target.refuse(files)
    target.refuse(files[:2])
    target.refuse(files[:2], files[2:])  # a mask, or a memory, of the image's name, which does not come out again
    with pytest.raises(LemError, match="is input and output at once"):
        target.claim(files[2])
    with pytest.raises(LemError, match="is input and output at once"):
        Target(f"{tmp_path}/", "png").refuse([str(tmp_path)])


@pytest.mark.parametrize(
    "text, coding",
    [
        ("mémoire".encode("latin-1"), "ISO-8859-1"),
        ("mé".encode("utf-16"), "UTF-16"),
        ("memory\r\n".encode("utf-16-le"), "UTF-16LE"),
        ("memory\r\n".encode("utf-16-be"), "UTF-16BE"),
        ("mé".encode("utf-32"), "UTF-32"),
    ],
)
def test_a_text_in_another_coding_says_the_way_out(tmp_path, text, coding):
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(
        LemError, match=f"not a known format, but text in {coding}, it seems; .*iconv -f {coding} -t UTF-8"
    ):
        list(media.load([str(tmp_path / "x")]))


def compared(a: np.ndarray, b: np.ndarray, *more) -> tuple[dict[str, float], list[str]]:
    comparison = Comparison(*more)
    for both in pair([Signal("image", a)], [Signal("image", b)]):
        comparison.add(both)
    found = comparison.results()
    return {result.metric: result.mean for result in found}, comparison.notes(found)


def test_usual_metrics_that_cannot_be_had_are_said():
    image = np.zeros((1, 1, 3, 3000), np.uint8)
    found, notes = compared(image, image)
    assert "ssim" not in found and notes == ["ssim is left out: it needs images of 11 x 11 px or more, not 3000 x 3"]
    large = np.zeros((1, 1, 16, 16), np.uint8)
    assert "ssim" in compared(large, large)[0] and compared(large, large)[1] == []


def test_the_scale_of_errors_is_said_where_it_is_not_plain():
    eight = np.full((1, 1, 16, 16), 51, np.uint8)
    real = np.full((1, 1, 16, 16), 0.4, np.float32)
    found, notes = compared(eight, real)
    assert (
        found["mse"] == pytest.approx(0.04) and len(notes) == 1 and notes[0].startswith("mse: on the scale from 0 to 1")
    )
    found, notes = compared(eight, eight + 1)
    assert found["mse"] == 1 and notes == []
    assert compared(real, real)[1] == [] and compared(eight, real, "psnr")[1] == []


def test_what_was_chosen_stands_before_a_preset():
    plain = {"recipe": "feedforward", "data": ["x"], "output": "m.safetensors", "device": "cpu", "preset": "quick"}
    assert resolve(Settings(**plain)).ema == RECIPES["feedforward"].presets["quick"]["ema"]
    assert resolve(Settings(**plain, ema=0.0)).ema == 0


def test_a_recipe_without_a_preset_says_so():
    row = RECIPES["feedforward"]._replace(name="median", facts={**RECIPES["feedforward"].facts, "presets": {}})
    with RECIPES.added(row), pytest.raises(LemError, match="--preset quick is not for median: it has none$"):
        resolve(Settings("median", ["x"], "m.safetensors", preset="quick", device="cpu"))


def test_width_of_a_network_that_has_several():
    from lemtools.train.network import record

    with pytest.raises(LemError, match=r"--width is one number; --arch conv has several: --set widths="):
        record(Settings("feedforward", ["x"], "m.safetensors", width=8), "image", (3, 8, 8))
