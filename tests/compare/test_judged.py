"""What a judge sees on both sides: known answers by a linear one, and refusals."""

import json
import math
import warnings

import numpy as np
import pytest

import lemtools
from helpers.commands import lem
from lemtools.compare.comparison import Comparison
from lemtools.compare.judged import Court, Verdict, deep
from lemtools.compare.pairs import pair
from lemtools.compare.summary import change_interval, mean_interval
from lemtools.media.labels import Classes
from lemtools.nets.judge import Judge, Seen
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(1)
X = RNG.standard_normal((300, 5)).astype(np.float32)
TRUE = (X[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    np.save(folder / "x.npy", X)
    np.save(folder / "l.npy", TRUE)
    line = "classifier --data x.npy --labels l.npy --set depth=0 --steps 200 --batch 32 --lr 5e-2 --ema .9 --device cpu -o linear.safetensors -q"
    assert lem("train", *line.split(), cwd=folder).returncode == 0
    words = ["name\tside", *(f"v{i}\t{'up' if k else 'down'}" for i, k in enumerate(TRUE))]
    (folder / "words.tsv").write_text("\n".join(words) + "\n")
    line = line.replace("x.npy", "x.safetensors").replace("l.npy", "words.tsv").replace("linear", "named")
    lemtools.save([Signal("embedding", X, names=[f"v{i}" for i in range(300)])], str(folder / "x.safetensors"))
    assert lem("train", *line.split(), cwd=folder).returncode == 0
    return folder


def broken(share=0.5):
    """The first number lost in a share of the items."""
    y = X.copy()
    y[: int(share * len(y)), 0] *= -1
    return y


def test_each_number_by_its_definition(there):
    judge = Judge(str(there / "linear.safetensors"))
    y = broken()
    court = Court(judge, Classes(str(there / "l.npy")))
    comparison = Comparison(["judged", "judged-original", "judged-change", "agreement", "deep@1"], judge=court)
    for start in range(0, 300, 70):  # in batches, as a stream comes
        some = slice(start, start + 70)
        (batch,) = pair([Signal("embedding", X[some])], [Signal("embedding", y[some])])
        comparison.add(batch)
    found = {result.name: result for result in comparison.results()}
    w, b = (t.detach().double().numpy() for t in (judge.net.head.weight, judge.net.head.bias))

    def said(v):
        return ((v.astype(float) - judge.scale.offset) * judge.scale.gain @ w.T + b).argmax(1)

    assert found["judged[original]"].mean == (said(X) == TRUE).mean() > 0.95
    assert found["judged[recalled]"].mean == (said(y) == TRUE).mean() < 0.6
    assert found["judged_change"].mean == pytest.approx((said(y) == TRUE).mean() - (said(X) == TRUE).mean())
    assert found["agreement"].mean == (said(X) == said(y)).mean()
    one, other = ((v.astype(float) - judge.scale.offset) for v in (X, y))
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(np.sort(found["deep@1"].values), np.sort(cosine), atol=1e-5)


def test_a_layer_by_its_number():
    """The cosine of that layer, and none where one side has no features."""
    rng = np.random.default_rng(2)
    sides = [Seen(np.zeros((4, 2)), [rng.normal(size=(4, n)).astype(np.float32) for n in (3, 5, 7)]) for _ in range(2)]
    sides[1].layers[1][2] = 0
    for k in (1, 2, 3):
        x, y = (side.layers[k - 1].astype(float) for side in sides)
        with np.errstate(invalid="ignore"):
            wanted = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
        with warnings.catch_warnings(action="error"):
            found = deep(x, y, Verdict(*sides, None), k)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert np.isnan(found).tolist() == [False, False, k == 2, False]
    with pytest.raises(ValueError, match="layer 4: this judge has 3"):
        deep(x, y, Verdict(*sides, None), 4)


def changes(up, down, n):
    return np.repeat([1.0, -1.0, 0.0], [up, down, n - up - down])


def test_the_interval_of_a_change_is_of_pairs():
    """Ratings of 1,600 people at two times (Agresti, Categorical Data Analysis, section 10.1): -.04, 95 % from -.06 to -.02."""
    mean, low, high = change_interval(changes(86, 150, 1600))
    assert (mean, round(low, 2), round(high, 2)) == (-0.04, -0.06, -0.02)
    assert change_interval(changes(1, 0, 4)) == (0.25, None, None)


def test_the_interval_of_a_change_covers_what_it_says():
    """By the chances of all outcomes; Student's, which has no width where nothing changed, covers less."""
    n, worst, students = 24, 1.0, 1.0
    for up, down in ((0.05, 0.02), (0.1, 0.1), (0.01, 0.2), (0.02, 0.01)):
        covered = student = 0.0
        for i in range(n + 1):
            for j in range(n + 1 - i):
                weight = math.comb(n, i) * math.comb(n - i, j) * up**i * down**j * (1 - up - down) ** (n - i - j)
                _, low, high = change_interval(changes(i, j, n))
                covered += weight * (low <= up - down <= high)
                _, low, high = mean_interval(changes(i, j, n))
                student += weight * (low <= up - down <= high)
        worst, students = min(worst, covered), min(students, student)
    assert worst > 0.94 and students < 0.6


def test_nothing_changed_is_not_certain(there):
    (batch,) = pair([Signal("embedding", X)], [Signal("embedding", X)])
    judge = Court(Judge(str(there / "linear.safetensors")), Classes(str(there / "l.npy")))
    comparison = Comparison(["judged-change"], judge=judge)
    comparison.add(batch)
    (found,) = comparison.results()
    assert found.mean == 0 and -0.02 < found.low < 0 < found.high < 0.02


def test_labels_by_name_and_those_that_travel(there):
    names = [f"a/v{i}.wav" for i in range(300)][::-1]
    court = Court(Judge(str(there / "named.safetensors")), Classes(str(there / "words.tsv")))
    (batch,) = pair([Signal("embedding", X[::-1], names=names)], [Signal("embedding", X[::-1])])
    assert court.judge.names == ["down", "up"] and (court(batch).truth == TRUE[::-1]).all()
    court = Court(court.judge)
    assert not court.knows(batch)
    (batch,) = pair([Signal("embedding", X, label=TRUE)], [Signal("embedding", X)])
    assert court.knows(batch) and (court(batch).truth == TRUE).all()


def test_classes_by_folders(there):
    judge = Judge(str(there / "named.safetensors"))
    names = [f"{judge.names[k]}/{i}.png" for i, k in enumerate(TRUE)]
    (batch,) = pair([Signal("embedding", X, names=names)], [Signal("embedding", X)])
    assert (Court(judge, "folder")(batch).truth == TRUE).all()
    (batch,) = pair([Signal("embedding", X[:2], names=["top/0", "down/1"])], [Signal("embedding", X[:2])])
    with pytest.raises(LemError, match="class 'top', which .* was not taught; it knows down, up"):
        Court(judge, "folder")(batch)


def test_names_in_the_order_of_the_items(there):
    """They say the same as numbers do, by what the classes are called."""
    (there / "names.txt").write_bytes("\ufeff".encode() + "\r\n".join("up" if k else "down" for k in TRUE).encode())
    (batch,) = pair([Signal("embedding", X[:50])], [Signal("embedding", X[:50])])
    court = Court(Judge(str(there / "named.safetensors")), Classes(str(there / "names.txt")))
    assert (court(batch).truth == TRUE[:50]).all()
    with pytest.raises(LemError, match="names.txt: 300 labels for 50 items"):
        court.check()


def test_the_command(there):
    np.save(there / "y.npy", broken())
    line = ["--judge", "linear.safetensors", "--labels", "l.npy", "--json", "x.npy", "y.npy"]
    rows = [json.loads(row) for row in lem("compare", *line, cwd=there).stdout.splitlines()]
    names = [row["name"] for row in rows]
    assert names[:4] == ["judged[recalled]", "judged[original]", "judged_change", "agreement"]
    alone = lem("compare", "--judge", "linear.safetensors", "--metric", "agreement", "x.npy", "y.npy", cwd=there).stdout
    assert alone.startswith(b"agreement\t0.5")


@pytest.mark.parametrize(
    "words, said",
    [
        ("--metric judged", "--metric judged needs a judge: --judge MODEL"),
        (
            "--judge linear.safetensors --metric judged",
            "judged needs the classes of the originals: --judge MODEL --labels",
        ),
        ("--metric deep", "--metric deep needs a judge: --judge MODEL"),
        ("--judge linear.safetensors --metric deep@2", "layer 2: this judge has 1; give --metric deep@1 or lower"),
        ("--judge linear.safetensors --metric nmse", "--judge is for --metric judged, "),
        ("--judge linear.safetensors --labels words.tsv", "words.tsv: no row of 0"),
        ("--judge words.tsv", "words.tsv: not a whole safetensors file"),
        ("--judge linear.safetensors --by side", "--by is for --labels FILE without --judge"),
        ("--judge linear.safetensors --labels more.npy", "more.npy: 301 labels for 300 items"),
        (
            "--judge linear.safetensors --labels three.npy",
            "three.npy: class 2, where linear.safetensors was taught 2, from",
        ),
        (
            "--judge named.safetensors --labels l.npy",
            "l.npy: classes by numbers, where named.safetensors was taught down, up",
        ),
        (
            "--judge linear.safetensors --labels words.txt",
            "class 'up', which linear.safetensors was not taught; it knows 0, 1",
        ),
        ("--judge named.safetensors --labels few.txt", "few.txt: 2 labels for more items"),
    ],
)
def test_what_is_refused(there, words, said):
    np.save(there / "three.npy", np.arange(300) % 3)
    np.save(there / "more.npy", np.arange(301) % 2)
    (there / "words.txt").write_text("\n".join("up" if k else "down" for k in TRUE))
    (there / "few.txt").write_text("up\ndown\n")
    done = lem("compare", *words.split(), "x.npy", "x.npy", cwd=there, ok=False)
    assert done.returncode == 2 and done.stdout == b"" and said in done.stderr.decode(), done.stderr


def test_features_are_a_layer(there):
    done = lem(
        "encode", "--encoder", "features", "--model", "linear.safetensors", "x.npy", "-o", "f.safetensors", cwd=there
    )
    assert done.returncode == 0
    (found,) = lemtools.load([str(there / "f.safetensors")])
    judge = Judge(str(there / "linear.safetensors"))
    np.testing.assert_allclose(found.data, (X - judge.scale.offset) * judge.scale.gain, atol=1e-6)
    done = lem(
        "encode", "--encoder", "features", "--layer", "2", "--model", "linear.safetensors", "x.npy", cwd=there, ok=False
    )
    assert "--layer 2: linear.safetensors has layers 1 to 1" in done.stderr.decode()


def test_sounds_of_another_length_and_rate(tmp_path):
    """They are cut or filled to what was learnt, which is said; another rate is refused."""
    sounds = 0.3 * RNG.standard_normal((12, 1, 1600)).astype(np.float32)
    sounds[::2] = np.sin(np.arange(1600) / 3)
    lemtools.save([Signal("audio", sounds, rate=8000)], str(tmp_path / "s.safetensors"))
    np.save(tmp_path / "l.npy", np.arange(12) % 2)
    line = "classifier --data s.safetensors --labels l.npy --encoder log-mel --set widths=[4] --set blocks=1 --steps 5 --batch 4 --holdout 0 --device cpu -o m.safetensors -q"
    assert lem("train", *line.split(), cwd=tmp_path).returncode == 0
    judge = Judge(str(tmp_path / "m.safetensors"))
    whole = judge("audio", sounds, 8000)
    assert judge.fitted == 0
    longer = np.concatenate([sounds, sounds[..., :100]], -1)
    np.testing.assert_array_equal(judge("audio", longer, 8000).logits, whole.logits)
    assert judge.fitted == 12 and "12" in judge.remark(12)
    with pytest.raises(LemError, match="sounds at 16000 Hz, where .* was taught 8000 Hz; resample them"):
        judge("audio", sounds, 16000)
