"""What recall answers with the labels of memories: their posterior, by the definition."""

import json

import numpy as np
import pytest

from helpers.commands import lem
from lemtools import front
from lemtools.catalogue import LemError
from lemtools.denoise.memory import Memory
from lemtools.denoise.store import Store
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media.kept import kept
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal
from lemtools.stream import write

RNG = np.random.default_rng(5)
VECTORS = Signal("embedding", RNG.standard_normal((50, 12)).astype(np.float32))
LABELS = RNG.integers(0, 4, 50)
LABELS[3] = 6  # a class of one memory; 4 and 5 have none
CODES = next(fragment([VECTORS], [{"op": "bits", "bits": 2}], 0))
ASKED = next(fragment([VECTORS.take(slice(0, 9))], [{"op": "mask", "mask": 0.4}], 1))


def by_hand(memories, sigma):
    """Posterior of the classes, [9, 7]."""
    seen = evidence(ASKED)
    energy = ((seen.value[:, None] - memories[None]) ** 2 * seen.observed[:, None]).sum(2, dtype=np.float64)
    weight = np.exp((energy.min(1, keepdims=True) - energy) / (2 * sigma**2))
    return np.stack([weight[:, k == LABELS].sum(1) for k in range(7)], 1) / weight.sum(1, keepdims=True)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("held", [False, True])
def test_the_posterior_of_labels_is_the_sum_over_their_memories(sigma, held):
    memory = kept([CODES], "store") if held else VECTORS.data
    (found,) = reconstruct([ASKED], "recall", memory=memory, sigma=sigma, answer="label", classes=LABELS)
    wanted = by_hand(CODES.data if held else VECTORS.data, sigma)
    assert found.kind == "embedding" and found.data.dtype == np.float32 and np.allclose(found.data, wanted, atol=1e-6)
    assert (found.label == wanted.argmax(1)).all() and found.data[:, 4:6].max() == 0
    parts = [ASKED.take(slice(0, 4)), ASKED.take(slice(4, None))]
    again = reconstruct(parts, "recall", memory=memory, sigma=sigma, answer="label", classes=LABELS)
    assert np.array_equal(np.concatenate([part.data for part in again]), found.data)


@pytest.mark.parametrize("beta", ["far", "near"])
def test_tiles_and_candidates_give_the_same_posterior(beta):
    """Of few near memories the candidates are all; of all alike the whole store is summed, tile by tile."""
    sigma = 0.05 if beta == "near" else 5.0
    query, mask = evidence(ASKED).value, evidence(ASKED).observed
    found = [Memory(Store(VECTORS.data, tile=tile)).recall(query, mask, sigma, classes=LABELS).mean for tile in (7, 50)]
    assert found[0].shape == (9, 7) and np.allclose(found[0], found[1], atol=1e-12)
    assert np.allclose(found[0], by_hand(VECTORS.data, sigma), atol=1e-6)


def save(path, signal):
    with open(path, "wb") as file:
        write([signal], file)
    return str(path)


def test_labels_come_with_the_store_or_from_a_file(tmp_path):
    asked = save(tmp_path / "asked.safetensors", ASKED)
    carried = save(tmp_path / "carried.safetensors", Signal("embedding", VECTORS.data, label=LABELS))
    held = save(tmp_path / "held.safetensors", next(fragment([VECTORS], [{"op": "bits", "bits": 2}], 0)))
    (tmp_path / "labels.txt").write_text("\n".join(map(str, LABELS)))
    done = lem(
        "reconstruct", "--memory", carried, "--answer", "label", "--sigma", ".3", asked, "-o", tmp_path / "a.npy"
    )
    assert done.stderr == b"" and np.allclose(np.load(tmp_path / "a.npy"), by_hand(VECTORS.data, 0.3), atol=1e-6)
    words = ["--memory", held, "--answer", "label", "--labels", tmp_path / "labels.txt", "--sigma", ".3"]
    lem("reconstruct", *words, asked, "-o", tmp_path / "b.npy")
    assert np.allclose(np.load(tmp_path / "b.npy"), by_hand(CODES.data, 0.3), atol=1e-6)
    # a table of memories that have no names goes by their numbers, whatever the batches
    rows = [f"{i}\t{label}" for i, label in enumerate(LABELS)]
    (tmp_path / "table.tsv").write_text("name\tclass\n" + "\n".join(rows[::-1]) + "\n")
    words[5] = tmp_path / "table.tsv"
    lem("reconstruct", *words, "--batch", "7", asked, "-o", tmp_path / "c.npy")
    assert (np.load(tmp_path / "c.npy") == np.load(tmp_path / "b.npy")).all()
    (tmp_path / "table.tsv").write_text("name\tclass\n" + "\n".join(rows[1:]) + "\n")
    done = lem("reconstruct", *words, asked, ok=False)
    assert done.returncode == 2 and b"table.tsv: no row of 0" in done.stderr and done.stderr.count(b"\n") == 1
    done = lem("reconstruct", "--memory", held, "--labels", tmp_path / "labels.txt", asked, ok=False)
    assert done.returncode == 2 and b"--labels is for --answer label" in done.stderr
    with pytest.raises(LemError, match="labels is for answer='label'"):
        front.reconstruct(ASKED, memory=VECTORS, labels=str(tmp_path / "labels.txt"))
    found = front.reconstruct(ASKED, memory=Signal("embedding", VECTORS.data, label=LABELS), answer="label", sigma=0.3)
    assert np.array_equal(found.numpy(), np.load(tmp_path / "a.npy"))


def test_words_of_a_table_are_on_record(tmp_path):
    names = [f"{i}.png" for i in range(50)]
    store = save(tmp_path / "store.safetensors", Signal("embedding", VECTORS.data, names=names))
    kinds = np.array(["cat", "dog"])[LABELS % 2]
    table = tmp_path / "t.tsv"
    table.write_text("name\tkind\n" + "".join(f"{n}\t{k}\n" for n, k in reversed(list(zip(names, kinds)))))
    asked, out = save(tmp_path / "asked.safetensors", ASKED), tmp_path / "out.safetensors"
    lem("reconstruct", "--memory", store, "--answer", "label", "--labels", f"{table}:kind", asked, "-o", out)
    (found,) = front.load(str(out))
    assert found.history[-1]["classes"] == ["cat", "dog"] and found.data.shape == (9, 2)
    assert (found.label == LABELS[:9] % 2).all()
    assert json.dumps(found.history[-1])


@pytest.mark.parametrize(
    "more, words",
    [
        ({"answer": "label"}, "0 labels for 50 memories"),
        ({"answer": "label", "classes": LABELS[:49]}, "49 labels for 50 memories"),
        ({"answer": "label", "classes": LABELS, "samples": 2}, "leave out --samples"),
    ],
)
def test_labels_that_do_not_fit_are_refused(more, words):
    with pytest.raises(LemError, match=words):
        list(reconstruct([ASKED], "recall", memory=VECTORS.data, **more))


@pytest.mark.parametrize(
    "label, words",
    [(None, "memories without labels; name them: --labels FILE"), (-LABELS, "classes are numbers from 0")],
)
def test_stores_without_labels_are_refused_by_the_command(tmp_path, label, words):
    store = save(tmp_path / "store.safetensors", Signal("embedding", VECTORS.data, label=label))
    asked, out = save(tmp_path / "asked.safetensors", ASKED), tmp_path / "out.npy"
    done = lem("reconstruct", "--memory", store, "--answer", "label", asked, "-o", out, ok=False)
    assert done.returncode == 2 and words in done.stderr.decode() and done.stderr.count(b"\n") == 1 and not out.exists()
