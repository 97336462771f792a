"""Pairing items, choosing metrics, and the numbers that lem-compare prints."""

import base64
import io
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from helpers.commands import lem, lem_fork
from lemtools.compare import METRICS, Comparison, measure, missed, named, pair
from lemtools.compare.report import Bands, Report, chart
from lemtools.fragment import fragment
from lemtools.signal import LemError, Signal

rng = np.random.default_rng(0)


def photos(n=4, size=(3, 24, 20), names=None):
    return Signal("image", rng.integers(0, 256, (n, *size), dtype=np.uint8), names=names)


def measured(a, b, metrics=None, by="auto", **options):
    comparison = Comparison(metrics, **options)
    for batch in pair(a, b, by):
        comparison.add(batch)
    return {r.metric: r for r in comparison.results()}


def test_batches_of_any_size_pair_item_by_item():
    a = photos(7)
    (b,) = fragment([a], [{"op": "bits", "bits": 4}])
    whole = measured([a], [b])
    cut = measured([a.take(slice(0, 3)), a.take(slice(3, 7))], [b.take(slice(0, 5)), b.take(slice(5, 7))])
    assert (whole["psnr"].values == cut["psnr"].values).all() and len(whole["psnr"].values) == 7
    error = ((a.data.astype(float) - b.data) ** 2).mean((1, 2, 3))
    assert np.allclose(whole["psnr"].values, 10 * np.log10(255**2 / error))
    assert whole["psnr"].mean == pytest.approx(np.mean(10 * np.log10(255**2 / error)))
    assert (whole["bits"].values == 4).all()


def test_interval_is_students():
    from scipy import stats

    a = photos(6)
    (b,) = fragment([a], [{"op": "noise", "sigma": 0.1}])
    r = measured([a], [b])["psnr"]
    low, high = stats.t.interval(0.95, 5, loc=r.values.mean(), scale=stats.sem(r.values))
    assert (r.low, r.high) == pytest.approx((low, high))


def test_names_are_checked_or_used():
    a = photos(3, names=["a.png", "b.png", "c.png"])
    b = Signal("image", a.data[::-1].copy(), names=["c.jpg", "b.jpg", "a.jpg"])
    with pytest.raises(LemError, match="--pair name"):
        measured([a], [b])
    assert measured([a], [b], by="name")["mse"].mean == 0
    assert measured([a], [b], by="order")["mse"].mean > 0
    with pytest.raises(LemError, match="no recalled item"):
        measured([a], [b.take([0, 1])], by="name")
    with pytest.raises(LemError, match="without an original"):
        measured([a.take([0, 1])], [b], by="name")
    with pytest.raises(LemError, match="two recalled items"):
        measured([a], [b, Signal("image", a.data[:1], names=["a.webp"])], by="name")
    draws = Signal("image", a.data, names=["a.png#0", "a.png#1", "b.png#0"])
    with pytest.raises(LemError, match="no recalled item"):
        measured([a], [draws], by="name")
    one_by_one = [
        [s.take([i]) for i in range(2)] for s in (a, Signal("image", a.data, names=["q.png", "b.png", "c.png"]))
    ]
    with pytest.raises(LemError, match="--pair name"):
        measured(*one_by_one)
    assert measured([a.take([0])], [Signal("image", a.data[:1], names=["other.png"])])["mse"].mean == 0


def test_a_metric_that_cannot_take_an_item_says_which_it_took():
    sizes = [(3, 8, 8), (3, 30, 30), (1, 30, 30)]
    a = [Signal("image", photos(1, size).data, names=[f"{i}.png"]) for i, size in enumerate(sizes)]
    b = [next(fragment([s], [{"op": "bits", "bits": 4}])) for s in a]
    for order in ([0, 1, 2], [1, 2, 0]):
        found = measured([a[i] for i in order], [b[i] for i in order])
        assert found["ssim"].items == [f"{i}.png" for i in order if i] and len(found["ssim"].values) == 2
        assert found["ssim"].name == "ssim[gauss11,mixed]" and len(found["psnr"].values) == 3
    with pytest.raises(LemError, match="one shape"):
        measured(a, b, ["recall@1"])
    assert Comparison().results() == []


def test_neighbours_are_judged_in_the_values_own_precision():
    a = 1000 + 1e-6 * rng.standard_normal((30, 8))
    b = a + 1e-8 * rng.standard_normal(a.shape)
    assert measured([Signal("embedding", a)], [Signal("embedding", b)], ["recall@1"])["recall@1"].mean == 1


def test_what_cannot_be_compared_is_refused():
    a = photos(2)
    embeddings = Signal("embedding", rng.standard_normal((2, 5)).astype(np.float32))
    cases = [
        (a, photos(3), None, "more recalled"),
        (photos(3), a, None, "more originals"),
        (a, photos(2, (3, 9, 9)), None, "original .* recalled"),
        (a, embeddings, None, "is image, the recalled embedding"),
        (a, a, ["snr"], "is for audio"),
        (a, a, ["beauty"], "no metric"),
        (a, a, ["recall@0"], "no metric"),
        (embeddings, embeddings, ["psnr"], "--peak"),
        (embeddings, embeddings, ["recall@5"], "recall@5"),
        (a, a, ["bits"], "cost"),
    ]
    for x, y, metrics, words in cases:
        with pytest.raises(LemError, match=words):
            measured([x], [y], metrics)
    (small,) = fragment([a], [{"op": "downsample", "factor": 2}])
    with pytest.raises(LemError, match="lem-reconstruct"):
        measured([a], [small])
    assert measured([embeddings], [embeddings], ["psnr"], peak=2.0)["psnr"].mean == np.inf


def test_images_of_8_bits_and_of_floats_share_their_full_scale():
    a = photos(2)
    b = Signal("image", np.clip(a.data / np.float32(255) + 0.1, 0, 1).astype(np.float32))
    expected = 10 * np.log10(1 / ((a.data / 255 - b.data) ** 2).mean((1, 2, 3)))
    assert np.allclose(measured([a], [b])["psnr"].values, expected, atol=1e-4)


def test_the_scale_of_errors_is_noted_where_the_types_do_not_say_it():
    eight = photos(3)
    floats = replace(eight, data=(eight.data / 255).astype(np.float32))

    def notes(*pairs):
        comparison = Comparison("mse,ssim")
        for a, b in pairs:
            for batch in pair([a], [b]):
                comparison.add(batch)
        return comparison.notes(comparison.results())

    assert notes((eight, eight)) == [] and notes((floats, floats)) == []
    one = "mse: on the scale from 0 to 1, since one side holds floats; of two 8-bit images from 0 to 255"
    both = "mse: means over items on the scale from 0 to 255 and others on that from 0 to 1"
    assert notes((eight, floats)) == notes((floats, eight)) == [one]
    assert notes((eight, eight), (floats, floats)) == notes((eight, eight), (eight, floats)) == [both]


def test_a_chart_is_as_large_as_it_says():
    svg = chart(np.arange(1.0, 9), [np.arange(1.0, 9), np.arange(2.0, 10)], "x", "y")
    box, width, height = re.search(r'viewBox="0 0 (\d+ \d+)" width="(\d+)" height="(\d+)"', svg).groups()
    assert box == f"{width} {height}"


def test_every_metric_runs_on_every_kind_it_names():
    whole = {
        "image": photos(3, (3, 180, 176)),
        "embedding": Signal("embedding", rng.standard_normal((40, 24)).astype(np.float32)),
        "audio": Signal("audio", rng.standard_normal((3, 2, 4000)).astype(np.float32) / 4, rate=8000.0),
        "spectrum": Signal("spectrum", rng.standard_normal((12, 2, 9, 5)).astype(np.float32)),
        "tokens": Signal("tokens", rng.integers(0, 9, (3, 7))),
    }
    for kind, a in whole.items():
        (b,) = fragment([a], [{"op": "mask", "mask": 0.25}] if kind == "tokens" else [{"op": "bits", "bits": 6}])
        b.history = [{}]
        # those that take what a model was trained on: test_training.py; gaps: test_sound_frames.py; judges: test_judged.py; classes: test_class_metrics.py; extras: test_speech.py
        rows = {f"{m.name}@{m.k}" if m.k else m.name: m for m in METRICS.rows if m.suits(kind)}
        rows = {k: m for k, m in rows.items() if not m.of_set or len(a) > 10}
        rows = {
            k: m
            for k, m in rows.items()
            if not {"train", "gaps", "judge", "classes"} & {*m.needs, *m.uses} and not m.extra
        }
        keys = list(rows)
        found = measured([a], [b], keys, peak=1.0 if kind in ("embedding", "spectrum") else None)
        beside = {f"{k}-{m.of[1].strip('_')}" for k, m in rows.items() if m.of[1] != "_floor"}
        floors = {f"{k}-floor" for k in rows if f"{k}-floor" in found}
        assert set(found) == {*keys, *beside, *floors} and len(keys) > 1
        for key, result in found.items():
            assert len(result.values) in (0, len(a)) and len(result.items) == len(a), (kind, key)
            assert np.isfinite(result.mean) and np.isfinite(result.values).all(), (kind, key)
        same = measured(
            [a], [a], [k for k in keys if k != "bits"], peak=1.0 if kind in ("embedding", "spectrum") else None
        )
        for key, result in same.items():
            better = rows[key].better if key in rows else ""
            best = {"higher": max, "lower": min, "": lambda one, _: one}[better]
            assert best(result.mean, found[key].mean) == pytest.approx(result.mean), key
            if key in rows and rows[key].of == ("recalled", "original"):
                assert result.mean == same[f"{key}-original"].mean == found[f"{key}-original"].mean, key


def test_metric_names_a_user_may_write():
    assert named("psnr") == (METRICS["psnr"], None) and named("recall@5") == (METRICS["recall"], 5)
    assert named("recall")[1] == named("recall@")[1] == 1 and named("mutual-knn") == (METRICS["mutual-knn"], 10)
    a = Signal("embedding", rng.standard_normal((20, 4)).astype(np.float32))
    assert set(measured([a], [a], ["recall@1", "recall@3"])) == {"recall@1", "recall@3"}
    names = {r.name for r in measured([photos(1, (1, 20, 20))], [photos(1, (1, 20, 20))], ["ssim"]).values()}
    assert names == {"ssim[gauss11,grey]"}


@pytest.fixture
def folder(tmp_path):
    a = rng.integers(0, 200, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(a).save(tmp_path / "a.png")
    Image.fromarray(a + 7).save(tmp_path / "b.png")
    return tmp_path


def test_lines_json_and_exit_status(folder):
    done = lem("compare", "a.png", "b.png", "--metric", "mse", "--metric", "psnr", cwd=folder)
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert rows[0] == ["mse", "49", "-", "-", "1"]
    assert rows[1][0] == "psnr" and float(rows[1][1]) == pytest.approx(10 * np.log10(255**2 / 49), abs=1e-5)
    done = lem("compare", "--json", "a.png", "a.png", "--metric", "psnr", cwd=folder)
    line = json.loads(done.stdout)
    assert list(line) == ["metric", "name", "unit", "mean", "low", "high", "n"]
    assert line["mean"] is None and line["n"] == 1 and b"null" in done.stderr
    for option, status in (("psnr=31", 0), ("psnr=32", 1), ("mse=1", 0), ("mse=50", 1)):
        assert lem("compare", "a.png", "b.png", "--min", option, cwd=folder, ok=None).returncode == status
    assert lem("compare", "a.png", "b.png", "--max", "mse=49", cwd=folder).returncode == 0
    assert lem("compare", "a.png", "b.png", "--max", "mse=48", cwd=folder, ok=None).returncode == 1


def test_items_and_sheet(folder):
    fragments = lem("fragment", "--bits", "2", "a.png", cwd=folder).stdout
    (folder / "f.safetensors").write_bytes(fragments)
    done = lem("compare", "a.png", "b.png", "--items", "--plot", "sheet.png", "--fragment", "f.safetensors", cwd=folder)
    assert done.stdout.decode().splitlines()[0].endswith("\ta.png")
    sheet = np.asarray(Image.open(io.BytesIO((folder / "sheet.png").read_bytes())))
    without = lem("compare", "a.png", "b.png", "--plot", "-", cwd=folder, ok=None)
    assert without.returncode == 2 and not (folder / "-").exists()
    assert sheet.ndim == 3 and sheet.shape[1] > 4 * 40 and sheet.std() > 20


def test_one_function_measures_signals_arrays_of_batches_and_names_in_any_spelling():
    a = photos(4)
    (b,) = fragment([a], [{"op": "bits", "bits": 4}])
    found = measure(a, b, "PSNR, Max_Abs,psnr")
    assert [r.metric for r in found] == ["psnr", "max-abs", "bits"] and found[0].better == "higher"
    assert found[0].mean == measured([a], [b], ["psnr"])["psnr"].mean
    (missing,) = measure(a, b, ["MSE"], fragments=b)[:1]
    assert missing.name == "mse[missing]"
    embeddings = Signal("embedding", rng.standard_normal((9, 5)).astype(np.float32))
    assert measure(embeddings, embeddings, "psnr", peak=2.0)[0].mean == np.inf
    with pytest.raises(LemError, match="no metric 'geometri'; near it: geometry"):
        measure(a, b, "psnr,geometri")
    with pytest.raises(TypeError, match="'peek'"):
        measure(a, b, peek=3)


def test_a_mean_misses_its_limit_where_it_is_beyond_it_or_undefined():
    results = measure(*(Signal("embedding", np.full((2, 3), v, np.float32)) for v in (0, 1)), "mse,nmse")
    assert missed(results, [("mse", 1)], [("mse", 1)]) == []
    assert missed(results, [("mse", 1.5)], [("mse", 0.5)]) == ["mse is 1, below 1.5", "mse is 1, above 0.5"]
    assert missed(results, [("nmse", -9)], [("nmse", 9)]) == ["nmse is nan, below -9", "nmse is nan, above 9"]


# the report


class Page(HTMLParser):
    """What a page holds, and all that it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.curves = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        known = dict(attributes)
        self.links += [known[name] for name in ("src", "href", "action", "data") if name in known]
        if tag == "polyline":
            self.curves.append([tuple(map(float, point.split(","))) for point in known["points"].split()])

    def handle_data(self, data):
        self.text += f" {data}"

    def picture(self):
        (link,) = self.links
        head, _, body = link.partition(",")
        assert head == "data:image/png;base64"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


def test_a_report_is_one_file_with_numbers_sheet_and_spectra(folder):
    plain = lem("compare", "a.png", "b.png", "--plot", "sheet.png", cwd=folder)
    done = lem("compare", "a.png", "b.png", "--html", "r.html", cwd=folder)
    assert done.stdout == plain.stdout and done.stderr == b""
    text = (folder / "r.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags) and "url(" not in text and "@import" not in text
    assert (page.picture() == np.asarray(Image.open(folder / "sheet.png").convert("RGB"))).all()
    for word in ("mse", "49", "psnr", "dB", "ssim[gauss11,rgb]", "higher", "mean squared error", "1 item", "a.png"):
        assert word in page.text, word
    one, other = page.curves
    assert one == other and len(one) > 40  # the recalled is brighter by 7 everywhere: the same about its mean
    noise = np.random.default_rng(1).integers(0, 256, (2, 3, 64, 64)).astype(np.uint8)
    blur = np.broadcast_to(noise.mean((2, 3), keepdims=True), noise.shape).astype(np.uint8)
    np.save(folder / "noise.npy", noise)
    np.save(folder / "blur.npy", blur)
    lem("compare", "noise.npy", "blur.npy", "--html", "n.html", cwd=folder)
    one, other = Page((folder / "n.html").read_text("utf-8")).curves
    assert one and not other  # nothing but the mean came back


def test_power_in_bands_is_parsevals_and_a_sine_stands_at_its_frequency():
    t = np.arange(8000) / 8000
    a = Signal(
        "audio",
        np.stack([np.sin(2 * np.pi * 1010 * t), np.sin(2 * np.pi * 3010 * t)])[:, None].astype("f4"),
        rate=8000.0,
    )
    bands = Bands()
    for both in pair([a], [a]):
        bands.add(both)
    power = bands.means()
    assert set(np.argsort(power[0])[-2:]) == {int(1010 / 8000 * 128), int(3010 / 8000 * 128)} and bands.unit() == "Hz"
    x = rng.integers(0, 256, (5, 1, 32, 32)).astype(np.uint8)
    bands = Bands()
    for both in pair([Signal("image", x)], [Signal("image", x // 2 * 2)]):
        bands.add(both)
    # white: every band has the variance of a pixel
    assert np.nanmean(bands.means()[0]) == pytest.approx(np.var(x / 255), rel=0.1)


@pytest.mark.parametrize("kind, shape", [("image", (3, 16, 16)), ("image", (3, 9, 14)), ("audio", (2, 64))])
def test_power_in_bands_is_about_the_mean_of_every_channel(kind, shape):
    """So much brighter or louder, each channel by another number, is the same power; that of channels is their mean."""
    g = np.random.default_rng(1)
    x = g.uniform(0, 0.2, (4, *shape)).astype(np.float32)
    up = np.linspace(0.1, 0.7, shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))
    rate = 8000.0 if kind == "audio" else None

    def power(a, b):
        bands = Bands()
        for both in pair([Signal(kind, a, rate=rate)], [Signal(kind, b, rate=rate)]):
            bands.add(both)
        return bands.means()

    plain, raised = power(x, x + up)
    np.testing.assert_allclose(plain, raised, rtol=1e-3)
    each = [power(x[:, [c]], x[:, [c]])[0] for c in range(shape[0])]
    np.testing.assert_allclose(plain, np.mean(each, 0), rtol=1e-6)


def test_what_is_left_out_of_the_usual_is_told_with_its_reason():
    """Of images too small, their size; of others, what is missing."""
    g, small = np.random.default_rng(0), photos(2, (3, 9, 10))

    def notes(a, b, fragments=None):
        comparison = Comparison()
        for batch in pair([a], [b], fragments=fragments):
            comparison.add(batch)
        return comparison.notes(comparison.results())

    assert notes(small, small) == ["ssim is left out: it needs images of 11 x 11 px or more, not 10 x 9"]
    for shape in ((3, 8), (3, 4, 8)):
        whole = Signal("embedding", g.standard_normal(shape).astype(np.float32))
        (lossy,) = fragment([whole], [{"op": "mask", "mask": 0.5}])
        (note,) = notes(whole, whole, [lossy])
        assert note.startswith("psnr is left out: ") and "--peak" in note and "px" not in note


@pytest.mark.parametrize("kind", ["embedding", "tokens", "one"])
def test_a_report_of_what_has_other_spectra_or_none(kind, folder):
    x = rng.integers(0, 90, (20, 6)) if kind == "tokens" else rng.standard_normal((1 if kind == "one" else 20, 6))
    a = Signal("tokens" if kind == "tokens" else "embedding", x if kind == "tokens" else x.astype(np.float32))
    (b,) = fragment([a], [{"op": "mask", "mask": 0.3}])
    comparison, report = Comparison(), Report(["<i>a</i>", "b"], rows=3, fragments=[b])
    for both in pair([a], [b]):
        report.add(both, comparison)
        comparison.add(both)
    file = io.BytesIO()
    report.draw(file, comparison, comparison.results())
    page = Page(file.getvalue().decode("utf-8"))
    assert "<i>a</i>" in page.text and "i" not in page.tags and page.picture().shape[1] > 300
    assert len(page.curves) == (2 if kind == "embedding" else 0)
    assert ("Spectra" in page.text) == (kind != "tokens")
    assert ("at least 2 items" in page.text) == (kind == "one") and ("3 of 20 items" in page.text) == (kind != "one")


@pytest.mark.parametrize(
    "words, said",
    [
        ("--html r.png", "a page is HTML; name it r.html"),
        ("--html -", "standard output holds the numbers"),
        ("--html a.png", "a page is HTML"),
        ("--html nowhere/r.html", "no folder nowhere"),
        ("--plot x --html x", "--plot and --html would both write x"),
        ("--rows 3", "--rows is for the --plot and for --html"),
        ("--metric psnr,zzz --html r.html", "no metric 'zzz'"),
        ("--min psnr,ssim=3", "--min and --max take one metric each, not psnr,ssim"),
        ("--metric geometri", "no metric 'geometri'; near it: geometry"),
    ],
)
def test_a_wrong_report_or_metric_is_refused_before_it_is_written(folder, words, said):
    done = lem_fork("compare", "a.png", "b.png", *words.split(), cwd=folder)
    assert done.returncode == 2 and said in done.stderr.decode() and not done.stdout
    assert {path.name for path in folder.iterdir()} == {"a.png", "b.png"}


# at a terminal


def at_terminal(width: int, tool: str, *args, cwd) -> list[str]:
    ours, theirs = os.openpty()
    done = lem_fork(tool, *args, cwd=cwd, env={"COLUMNS": str(width)}, prepare=lambda: os.dup2(theirs, 1))
    assert done.returncode == 0, done.stderr
    text = os.read(ours, 1 << 16).decode()
    os.close(ours), os.close(theirs)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[│┃]", line.strip("│┃"))]


def test_a_terminal_gets_a_header_row_units_and_what_is_better(folder):
    lines = at_terminal(100, "compare", "a.png", "b.png", "--items", "--metric", "psnr,MSE", cwd=folder)
    rows = [cells(line) for line in lines if line[0] in "│┃"]
    assert rows[0] == ["metric", "item", "value"] and rows[1][:2] == ["psnr", "a.png"]
    head = next(i for i, row in enumerate(rows) if "mean" in row)
    assert rows[head] == ["metric", "mean", "unit", "95 % low", "95 % high", "items", "better"]
    assert rows[head + 1][:3] == ["psnr", rows[1][2], "dB"] and rows[head + 1][-1] == "higher"
    assert rows[head + 2][0] == "mse" and rows[head + 2][1:] == ["49", "", "-", "-", "1", "lower"]
    (folder / "f.safetensors").write_bytes(lem("fragment", "--bits", "2", "a.png", cwd=folder).stdout)
    rows = [cells(line) for line in at_terminal(100, "info", "f.safetensors", cwd=folder) if line[0] in "│┃"]
    assert rows[0] == ["name", "value"] and ["kind", "image"] in rows and ["bits_per_element", "2.0"] in rows
