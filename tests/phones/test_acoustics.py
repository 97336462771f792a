"""The front end and the acoustic model: against pocketsphinx itself, and against the definition of a mixture."""

import os
import shutil

import numpy as np
import pytest

from helpers.acoustics import NAMES, toy
from lemtools.phones.cepstra import BANDS, HOP, RATE, WINDOW, bands, cepstra, denoised, features
from lemtools.signal import LemError

RNG = np.random.default_rng(3)
SOUND = (0.1 * RNG.standard_normal(20_000) * np.repeat(RNG.random(20), 1000)).astype(np.float32)


@pytest.mark.parametrize("noise", ["yes", "no"])
@pytest.mark.parametrize("samples", [20_000, WINDOW + 3 * HOP, 500])
def test_cepstra_are_those_of_pocketsphinx(sphinx, tmp_path, noise, samples):
    """What the decoder writes with mfclogdir, with its removal of noise and without."""
    model, logs = tmp_path / "model", tmp_path / "logs"
    shutil.copytree(sphinx.get_model_path("en-us/en-us"), model)
    logs.mkdir()
    params = model / "feat.params"
    params.write_text(params.read_text().replace("-remove_noise yes", f"-remove_noise {noise}"))
    raw = np.rint(SOUND[:samples] * 32767).astype("<i2")
    decoder = sphinx.Decoder(hmm=str(model), lm=None, dict=None, loglevel="FATAL", mfclogdir=str(logs))
    decoder.add_word("a", "AH", True)
    decoder.set_align_text("a")
    decoder.start_utt()
    decoder.process_raw(raw.tobytes(), full_utt=True)
    decoder.end_utt()
    (log,) = os.listdir(logs)
    big, little = (np.fromfile(logs / log, kind, offset=4).reshape(-1, 13) for kind in (">f4", "<f4"))
    theirs = little if np.abs(little).max() < 1e4 else big
    power = bands(raw / np.float32(32768))
    ours = cepstra(denoised(power) if noise == "yes" else power)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_frames_cover_a_sound_and_no_sound_has_none():
    counts = {0: 0, 1: 1, WINDOW: 2, WINDOW + HOP - 1: 2, WINDOW + HOP: 3, RATE: 99}
    assert {n: len(bands(np.ones(n, np.float32))) for n in counts} == counts
    assert features(cepstra(bands(np.zeros(0, np.float32)))).shape == (0, 3, 13)


def test_differences_of_a_ramp():
    """Of cepstra that rise by 1 a frame the first difference is 4 and the second 0; the mean is taken away."""
    ramp = np.repeat(np.arange(20.0)[:, None], 13, 1)
    found = features(ramp)
    assert np.allclose(found[:, 0, 0], np.arange(20) - 9.5)
    assert np.allclose(found[3:-3, 1], 4) and np.allclose(found[3:-3, 2], 0)


def test_steady_noise_is_taken_out_and_what_rises_is_kept():
    power = np.full((1300, BANDS), 1e6)
    power[1200:1210] *= 1e3
    kept = denoised(power) / power
    assert kept[1150].max() < 0.06 and kept[1203].min() > 0.5


@pytest.fixture
def model(sphinx):
    from lemtools.phones.model import Model, folder

    return Model(folder())


def test_an_emission_is_a_mixture_by_its_definition(model):
    streams = RNG.normal(0, 3, (5, 3, 13)).astype(np.float32)
    senones = np.array([3, 400, 5000])
    found = model.emissions(streams, senones)
    for t in range(5):
        for k, senone in enumerate(senones):
            phone, total = model._owner[senone], 0.0
            for f in range(3):
                mean, inverse = model._means[phone, f].astype(float), model._inverse[phone, f].astype(float)
                logs = -(np.square(streams[t, f] - mean) * inverse).sum(1) + 0.5 * np.log(inverse / np.pi).sum(1)
                total += np.logaddexp.reduce(logs + np.log(model._weights[f, :, senone].astype(float)))
            assert found[t, k] == pytest.approx(total, rel=1e-4)


def test_weights_of_every_mixture_add_up_to_one(model):
    np.testing.assert_allclose(model._weights.sum(1), 1, atol=0.1)  # 8 bits each


def test_senones_know_their_neighbours_and_their_place(model):
    alone = dict(zip(model.names, model.alone.tolist()))
    assert model.senones(["SIL"], [0]).tolist() == [alone["SIL"]]
    one, two = model.senones(["K", "AE", "T"], [0, 0, 0]), model.senones(["B", "AE", "T"], [0, 0, 0])
    assert one[1].tolist() != two[1].tolist() != alone["AE"]
    assert all(model._owner[s] == model.names.index("AE") for s in one[1])
    inside, apart = (model.senones(["T", "AH", "T"], words) for words in ([0, 0, 0], [0, 1, 2]))
    assert (inside != apart).any(1).all()


def test_a_triphone_has_its_neighbours_on_its_left_and_right(tmp_path):
    from lemtools.phones.model import Model

    model = Model(toy(tmp_path))
    assert model.names == list(NAMES) and model.alone.reshape(-1).tolist() == list(range(12))
    inside = [12, 13, 14]
    assert model.senones(["IY", "AA", "S"], [0, 0, 0])[1].tolist() == inside
    assert model.senones(["IY", "AA", "S"], [0, 1, 2])[1].tolist() == inside  # where the model has no other
    assert model.senones(["S", "AA", "IY"], [0, 0, 0])[1].tolist() == [0, 1, 2]
    assert model.senones(["AA"], [0])[0].tolist() == [0, 1, 2] and (model._owner[inside] == 0).all()


def test_a_folder_without_a_model(tmp_path):
    from lemtools.phones.model import Model

    with pytest.raises(LemError, match=r"not the English model of pocketsphinx 5\.1\.1"):
        Model(str(tmp_path))
