"""Small files of every form that the tools read, made by the tools, and who reads them: a function, and commands."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import struct
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from helpers import rollouts
from lemtools import encode, front, media, stream
from lemtools.denoise.contract import Scale
from lemtools.fragment import fragment
from lemtools.media import describe, large
from lemtools.media.annotations import WRITERS
from lemtools.media.labels import labels
from lemtools.nets import build
from lemtools.nets import model as models
from lemtools.nets.emulator import Corrector, Emulator
from lemtools.nets.level import Level
from lemtools.signal import Alphabet, Signal, Word
from lemtools.train import checkpoint
from lemtools.transforms.short import ShortTime

OUT = 200  # batches that a reader takes of one file


class File(NamedTuple):
    """form: how it is changed, see mutate. readers: functions of its path. commands: lines, {x} the file, {d} the folder of
    all files, {o} an output."""

    name: str
    form: str
    readers: tuple[Callable[[str], object], ...]
    commands: tuple[str, ...] = ()


def write(path: str, raw: bytes) -> None:
    with open(path, "wb") as file:
        file.write(raw)


def streamed(signals: Iterable[Signal], one: bool = False) -> bytes:
    out = io.BytesIO()
    (stream.write_one if one else stream.write)(signals, out)
    return out.getvalue()


# --- readers


def loaded(path: str) -> list[Signal]:
    return list(itertools.islice(media.load([path]), OUT))


def stored(path: str) -> None:
    np.array(media.store([path])[:4])


def in_pieces(path: str) -> None:
    most, large.LEAST = large.LEAST, 1
    try:
        loaded(path)
    finally:
        large.LEAST = most


def recalled(path: str) -> None:
    for signal in front.reconstruct(loaded(path), "decode"):
        signal.data.sum()


def by_method(path: str) -> None:
    signals = loaded(path)
    for signal in signals:
        method = "gaussian" if signal.kind == "embedding" else "auto"
        memory = np.random.default_rng(0).standard_normal((20, *signal.whole_shape), np.float32)
        list(front.reconstruct([signal], method, **({"memory": memory} if method == "gaussian" else {})))


def again(path: str) -> None:
    for signal in fragment(loaded(path), [{"op": "mask", "mask": 0.5}]):
        signal.data.sum()


def wav(data: np.ndarray, form: str, subtype: str = "PCM_16") -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, data, 8000, format=form, subtype=subtype)
    return out.getvalue()


def picture(array: np.ndarray, form: str, **options) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **options)
    return out.getvalue()


# --- files


class Corpus:
    """Files in a folder, made anew where they are not there; the same ones every time."""

    def __init__(self, folder: str):
        self.folder, self.files, self.rng = folder, [], np.random.default_rng(7)
        os.makedirs(folder, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for make in (self.streams, self.encoders, self.models, self.runs, self.pictures, self.sounds, self.arrays):
                make()
            rollouts.states(self)
            self.labels()

    def add(self, name: str, raw: bytes | None, form: str, *readers, commands: str = "") -> str:
        """Take in a file; raw: None where it is there. commands: one a line."""
        path = os.path.join(self.folder, name)
        if raw is not None:
            write(path, raw)
        lines = tuple(line.strip() for line in commands.splitlines() if line.strip())
        self.files.append(File(name, form, readers, lines))
        return path

    def streams(self) -> None:
        rng = self.rng
        image = Signal("image", rng.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8), names=["a", "b", "é"])
        colour = Signal("image", rng.random((2, 3, 6, 8), dtype=np.float32))
        sound = Signal("audio", rng.uniform(-1, 1, (2, 1, 60)).astype(np.float32), rate=8000.0)
        spectrum = Signal("spectrum", rng.standard_normal((2, 2, 4, 8)).astype(np.float32), rate=100.5)
        short = ShortTime("stft", 8000.0, 60, 16, 4)
        history = [{"tool": "lem-encode", "version": "0", **short.record}]
        made = replace(sound, kind="spectrum", data=short.encode(sound.data), history=history)
        vectors = Signal("embedding", rng.standard_normal((4, 16)).astype(np.float32), label=np.arange(4))
        sequence = Signal("embedding", rng.standard_normal((2, 3, 8)), tokens=np.arange(6).reshape(2, 3))
        tokens = Signal("tokens", rng.integers(0, 50, (3, 20), dtype=np.int32), depth=6)
        bits, mask = {"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5}
        broken = {
            "bits": (image, [bits]),
            "mixed": (image, [{"op": "bits", "bits": (1, 6)}, mask]),
            "unit": (colour, [mask, {**bits, "quantizer": "lloyd-max"}]),
            "crop": (image, [{"op": "crop", "crop": "5x6"}, {"op": "noise", "sigma": (0.1, 0.3)}]),
            "small": (colour, [{"op": "downsample", "factor": 2}]),
            "sound": (sound, [{**bits, "bits": 5}, {**mask, "shape": "span:9"}]),
            "slow": (sound, [{"op": "downsample", "factor": 3}]),
            "spectrum": (spectrum, [bits, mask]),
            "frames": (made, [{**mask, "shape": "patch:2x8ms"}, {"op": "lowpass", "lowpass": (500.0, 3000.0)}]),
            "muffled": (sound, [{"op": "lowpass", "lowpass": 900.0}, {**bits, "quantizer": "mu-law"}]),
            "gauss": (vectors, [bits]),
            "turned": (vectors, [{**bits, "rotate": True}]),
            "trellis": (vectors, [{**bits, "quantizer": "trellis"}]),
            "narrow": (vectors, [{"op": "keep-dims", "keep": 6}, {"op": "noise", "sigma": 0.2}]),
            "rows": (sequence, [{**mask, "shape": "dims"}]),
            "tokens": (tokens, [mask]),
        }
        lines = """info {x}
            reconstruct --method decode {x} -o {o}.safetensors
            fragment --mask .5 {x} -o {o}.safetensors
            reconstruct {x} -o {o}/"""
        for name, (whole, losses) in broken.items():
            half = len(whole) // 2
            parts = (
                [whole]
                if half == 0 or name in ("bits", "gauss")
                else [whole.take(slice(half)), whole.take(slice(half, None))]
            )
            raw = streamed(fragment(parts, losses), one=len(parts) == 1)
            self.add(
                f"{name}.st", raw, "safetensors", loaded, recalled, by_method, again, describe.describe, commands=lines
            )
        paid = replace(image, cost=np.array([3.0, 0.5, 8.125]), history=[{"tool": "lem-reconstruct", "seed": 0}])
        half = Signal("embedding", rng.integers(-9, 9, (3, 8)).astype(np.float32), depth=16)
        scattered = replace(image, index=np.array([7, 2, 40]), label=np.array([1, 0, 1]))
        lines = """info --json {x}
            fragment --bits 3 {x} -o {o}.safetensors
            reconstruct --method recall --memory {x} {d}/mixed.st -o {o}.safetensors
            compare {d}/image.st {x}
            els --bank {x} --scales 3 --steps 2 --seeds 0-1 -o {o}.safetensors
            els --prepare --bank {x} -o {o}.safetensors"""
        for name, whole in dict(
            image=image, colour=colour, wave=sound, vectors=vectors, sequence=sequence, packed=tokens, paid=paid,
            half=half, scattered=scattered,
        ).items():  # fmt: skip
            raw = streamed([whole], one=True)
            self.add(f"{name}.st", raw, "safetensors", loaded, stored, in_pieces, describe.describe, commands=lines)
        foreign = np.arange(64, dtype=np.uint8)
        raw = b"".join(
            stream.wire.assemble({"e": ("F32", vectors.data), "f": ("F8_E4M3", foreign.reshape(4, 16))}, {"note": "x"})
        )
        by_key = lambda path: list(media.load([path], key="e"))
        self.add(
            "foreign.st",
            raw,
            "safetensors",
            by_key,
            in_pieces,
            describe.describe,
            commands="fragment --key f --bits 2 {x} -o {o}.safetensors",
        )

    def labels(self) -> None:
        alphabet = Alphabet("ipa", ("", "a", "ʃ"))
        words = [[Word("ä", 0.0, 0.5)], []]
        fields = {"spans": np.arange(12.0).reshape(2, 3, 2), "alphabet": alphabet, "words": words, "depth": 2}
        spoken = Signal("tokens", self.rng.integers(0, 3, (2, 3)), scores=np.ones((2, 3), np.float32), **fields)
        self.add("spoken.st", streamed([spoken]), "safetensors", loaded, again, describe.describe)
        item, lines = spoken.take([0]), "fragment --mask .5 {x} -o {o}.TextGrid"
        for form, write_item in WRITERS.items():
            self.add(f"x.{form}", write_item(item).encode(), "text", loaded, again, commands=lines)
        self.add("wide.TextGrid", WRITERS["textgrid"](item).encode("utf-16"), "text", loaded)
        self.add("x.tsv", b"start\tend\tlabel\n0\t0.5\ta\n0.5\t1\tb\n", "text", loaded)
        segments = [{"sampleStart": i, "sampleDur": 1, "labels": [{"name": "Phonetic", "value": "a"}]} for i in (0, 2)]
        level = {"name": "Phonetic", "type": "SEGMENT", "items": segments}
        self.add("x_annot.json", json.dumps({"sampleRate": 8000, "levels": [level]}).encode(), "text", loaded)

    def encoders(self) -> None:
        vectors = self.rng.standard_normal((60, 16)).astype(np.float32)
        np.save(os.path.join(self.folder, "vectors.npy"), vectors)
        images = self.rng.integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
        there = lambda data, kind="embedding": lambda: [Signal(kind, data)]
        made = {
            "pca": ("pca", there(vectors), dict(dims=4)),
            "white": ("pca", there(images, "image"), dict(dims=3, whiten=True)),
            "rvq": ("rvq", there(vectors), dict(stages=2, codes=4, updates=2)),
            "groups": (
                "rvq",
                there(vectors),
                dict(stages=2, codes=4, groups=2, gain_shape=True, cosine=0.5, updates=2),
            ),
        }
        batch = {"white": Signal("image", images[:3])}

        def there_and_back(name):
            def read(path: str) -> None:
                encoder = encode.load(path)
                for signal in encode.encode([batch.get(name, Signal("embedding", vectors[:5]))], encoder):
                    list(encode.decode([signal], encoder))

            return read

        lines = """encode --model {x} {d}/vectors.npy -o {o}.safetensors
            info {x}
            encode --decode --model {x} {d}/codes.st -o {o}.safetensors"""
        for name, (kind, source, settings) in made.items():
            path = os.path.join(self.folder, f"{name}.enc")
            encoder, _ = encode.fit(kind, source, **settings)
            encoder.save(path)
            if name == "rvq":
                codes = list(encode.encode([Signal("embedding", vectors[:5])], encoder))
                self.add(
                    "codes.st",
                    streamed(codes),
                    "safetensors",
                    loaded,
                    there_and_back_of(path),
                    commands="encode --decode --model {d}/rvq.enc {x} -o {o}.safetensors",
                )
            self.add(f"{name}.enc", None, "safetensors", there_and_back(name), commands=lines)

    def models(self) -> None:
        shapes = {"embedding": [8], "image": [1, 8, 8], "field": [1, 8], "tokens": [8]}
        dial = dict(vocabulary=8, depth=1, width=8, heads=1, context=8)
        codec = dict(vocabulary=8, chunk=2, latent=4, width=8)
        kinds = {
            "flat": ("image", dict(channels=1, width=8, blocks=1)),
            "conv": ("image", dict(channels=1, widths=[8], blocks=[1], shuffle=1, details=[3])),
            "mlp": ("embedding", dict(item=[8], width=8, depth=1)),
            "gru": ("image", dict(item=[1, 8, 8], width=8, steps=2, shuffle=1)),
            "transformer": ("image", dict(item=[1, 8, 8], width=8, depth=1, heads=1, mixtures=2, levels=256)),
            "resnet": ("image", dict(channels=1, width=8, blocks=1, conditioned=True)),
            "unet": ("image", dict(channels=1, widths=[8, 8], conditioned=True, classes=2)),
            "mlp-denoiser": ("embedding", dict(item=[8], width=8, depth=1, conditioned=True)),
            "conv-step": ("field", dict(channels=1, width=8, blocks=1, side=3, axes=1)),
            "mlp-step": ("field", dict(item=[1, 8], width=8, depth=1)),
            "conv-correct": ("field", dict(channels=1, width=8, blocks=1, side=3, axes=1)),
            "mlp-correct": ("field", dict(item=[1, 8], width=8, depth=1)),
            "conv-level": ("field", dict(channels=1, low=0.01, high=1.0, width=8, blocks=1, side=3, axes=1)),
            "mlp-level": ("field", dict(item=[1, 8], low=0.01, high=1.0, width=8, depth=1)),
            "lm": ("tokens", dial),
            "token-ae": ("tokens", codec),
            "dense-lm": (
                "tokens",
                dict(codec={"net": "token-ae", **codec}, depth=1, width=8, heads=1, context=8, components=2),
            ),
        }
        vectors = Signal("embedding", self.rng.standard_normal((2, 8)).astype(np.float32))
        images = Signal("image", self.rng.integers(0, 256, (2, 1, 8, 8), dtype=np.uint8))
        text = Signal("tokens", self.rng.integers(0, 8, (2, 9), dtype=np.uint8))
        losses = [{"op": "mask", "mask": 0.5}]
        fragments = {signal.kind: list(fragment([signal], losses)) for signal in (vectors, images)}
        for kind, made in fragments.items():
            write(os.path.join(self.folder, f"lost-{kind}.st"), streamed(made))
        write(os.path.join(self.folder, "ids.st"), streamed([text]))

        def used(path: str) -> None:
            model = models.load(path)
            kind = model.meta["kind"]
            if model.family == "step":
                return Emulator(model)(vectors.data[:, None])
            if model.family == "correct":
                return Corrector(model)(vectors.data[:, None], vectors.data[:, None])
            if model.family == "level":
                return Level(model)(vectors.data[:, None])
            if kind != "tokens":
                more = {"steps": 2} if model.family == "denoise" else {}
                return [
                    signal.data.sum()
                    for signal in front.reconstruct(fragments.get(kind, fragments["image"]), model=path, **more)
                ]
            import torch

            tokens = torch.from_numpy(text.data[:, :8].astype(np.int64))
            with torch.no_grad():
                return model.net.encode(tokens) if model.family == "autoencoder" else None

        for name, (kind, arguments) in kinds.items():
            net = {"net": name, **arguments}
            meta = {"v": 1, "tool": "lem-train", "version": "0", "recipe": "feedforward", "net": net, "kind": kind}
            meta |= {"item": shapes[kind], "target": {"kind": kind, "item": shapes[kind]}, "fragment": ["--mask .5"]}
            meta |= {"classes": arguments.get("classes", 0), "step": 1, "seed": 0, "card": {}}
            if name == "token-ae":
                meta["encoder"] = {"v": 1, "encoder": "token-ae", "net": net}
            if "level" in name:
                row = {"true": 0.1, "read": 0.1, "low": 0.09, "high": 0.11, "bias": 0.0, "sd": 0.1}
                told = dict.fromkeys(("log_error", "bias", "binned_ece", "covered"), 0.1)
                meta["calibration"] = {"states": 200, "table": [row], **told, "clean": [[0.5, 0.01], [0.01, 0.02]]}
            scale = Scale.image() if kind == "image" else Scale()
            path = os.path.join(self.folder, f"{name}.model")
            checkpoint.save_model(models.Model(build(net), meta, scale, scale), path)
            lines = "info {x}\nreconstruct --model {x} {d}/lost-KIND.st -o {o}.safetensors".replace("KIND", kind)
            if name in ("lm", "dense-lm"):
                lines = "encode --encoder activations --lm {x} --layer 1 {d}/ids.st -o {o}.safetensors"
            if name == "token-ae":
                lines = "encode --model {x} {d}/ids.st -o {o}.safetensors"
            if kind == "field":
                lines = "info {x}"
            self.add(f"{name}.model", None, "safetensors", used, commands=lines)

    def runs(self) -> None:
        """The state of a run that stopped."""
        images = self.rng.integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
        np.save(os.path.join(self.folder, "data.npy"), images)
        from helpers.training import settings
        from lemtools.train.loop import train

        folder = os.path.join(self.folder, "run")
        os.makedirs(folder, exist_ok=True)

        def asked(folder: str, steps: int):
            paths = {"image": os.path.join(self.folder, "data.npy")}
            return settings(
                Paths(folder), paths, steps=steps, save_every=2, log=None, holdout=0, lr=1e-3, decay="constant"
            )

        if not os.path.exists(os.path.join(folder, "model.state.safetensors")):
            train(asked(folder, 4))

        def resumed(path: str) -> None:
            import shutil

            there = os.path.dirname(path)
            for name in ("model.safetensors", "model.previous.safetensors"):
                shutil.copy(os.path.join(folder, name), there)
            os.replace(path, os.path.join(there, "model.state.safetensors"))
            checkpoint.load_state(os.path.join(there, "model.safetensors"))

        self.add("run/model.state.safetensors", None, "safetensors", resumed)

    def pictures(self) -> None:
        from PIL import Image

        rng = self.rng
        grey, rgb = rng.integers(0, 256, (9, 12), dtype=np.uint8), rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        rgba = rng.integers(0, 256, (9, 12, 4), dtype=np.uint8)
        deep = rng.integers(0, 65536, (9, 12), dtype=np.uint16)
        lines = """fragment --bits 3 {x} -o {o}.safetensors
            fragment --mask .5 --resize 8 {x} -o {o}.png
            compare {d}/rgb.png {x}"""
        palette = io.BytesIO()
        Image.fromarray(rgb).quantize(17).save(palette, "PNG")
        moving = io.BytesIO()
        Image.fromarray(grey).save(moving, "GIF", save_all=True, append_images=[Image.fromarray(grey[::-1])])
        made = {
            "rgb.png": ("png", picture(rgb, "PNG")),
            "deep.png": ("png", picture(deep, "PNG")),
            "alpha.png": ("png", picture(rgba, "PNG")),
            "palette.png": ("png", palette.getvalue()),
            "a.jpg": ("head", picture(rgb, "JPEG")),
            "b.jpg": ("bytes", picture(grey, "JPEG", progressive=True)),
            "a.webp": ("head", picture(rgb, "WEBP")),
            "b.webp": ("head", picture(rgba, "WEBP", lossless=True)),
            "a.tif": ("head", picture(rgb, "TIFF")),
            "b.tif": ("bytes", picture(deep, "TIFF", compression="tiff_deflate")),
            "c.tif": ("bytes", picture(rgb, "TIFF", compression="tiff_lzw")),
            "a.gif": ("head", moving.getvalue()),
            "a.ppm": ("text", b"P6\n12 9\n255\n" + rgb.tobytes()),
            "a.pgm": ("text", b"P5 12 9 65535\n" + deep.tobytes()),
            "b.pgm": ("text", b"P2\n3 2\n9\n" + b"1 2 3\n4 5 6\n"),
        }
        for name, (form, raw) in made.items():
            self.add(name, raw, form, loaded, commands=lines)

    def sounds(self) -> None:
        wave = self.rng.uniform(-1, 1, 400)
        stereo = np.stack([wave, -wave], 1)
        made = {
            "a.wav": wav(wave, "WAV"),
            "b.wav": wav(stereo, "WAV", "FLOAT"),
            "c.wav": wav(wave, "WAVEX", "PCM_24"),
            "d.wav": wav(wave, "WAV", "IMA_ADPCM"),
            "e.wav": wav(wave, "RF64"),
            "a.flac": wav(stereo, "FLAC"),
            "a.ogg": wav(wave, "OGG", "VORBIS"),
            "a.mp3": wav(np.tile(wave, 8), "MP3", "MPEG_LAYER_III"),
        }
        lines = "fragment --bits 3 {x} -o {o}.safetensors\nfragment --mask .3 --mask-shape span:20 {x} -o {o}.wav"
        for name, raw in made.items():
            self.add(name, raw, "head" if name.endswith("wav") else "bytes", loaded, commands=lines)

    def arrays(self) -> None:
        rng = self.rng
        images, vectors = (
            rng.integers(0, 256, (3, 6, 5), dtype=np.uint8),
            rng.standard_normal((5, 8)).astype(np.float32),
        )
        classes = bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes([1, 2, 0, 3, 1])
        idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", 3, 6, 5) + images.tobytes()
        npz, plain = io.BytesIO(), io.BytesIO()
        np.savez_compressed(npz, a=vectors, b=np.arange(3))
        np.save(plain, np.asfortranarray(vectors.astype(np.float64)))
        one = io.BytesIO()
        np.save(one, vectors)
        lines = """fragment --bits 3 {x} -o {o}.safetensors
            reconstruct --method gaussian --memory {x} {d}/lost-embedding.st -o {o}.safetensors
            encode --encoder pca --dims 2 {x} -o {o}.safetensors"""
        self.add("a.npy", one.getvalue(), "npy", loaded, stored, labels, commands=lines)
        self.add("b.npy", plain.getvalue(), "npy", loaded, stored)
        self.add("a.npz", npz.getvalue(), "bytes", loaded, commands=lines)
        self.add("a.idx", idx, "head", loaded, commands=lines)
        self.add("a.idx.gz", gzip.compress(idx, mtime=0), "gzip", loaded, commands=lines)
        given = "els --bank {d}/image.st --labels {x} --label 1 --scales 3 --steps 1 -o {o}.safetensors"
        self.add("labels.idx.gz", gzip.compress(classes, mtime=0), "gzip", labels, commands=given)
        self.add("labels.txt", b"1\n2\n0\n3\n1\n", "text", labels, loaded, commands=given)
        table = b"name,x,y\n" + b"".join(b"row %d,%f,%f\n" % (i, *vectors[i % 5, :2]) for i in range(9))
        self.add("a.csv", table, "text", loaded, commands=lines)
        self.add("a.tsv", table.replace(b",", b"\t"), "text", loaded, commands=lines)
        written = "Whoever remembers, 記憶, denoises.\nA line.\n".encode()
        self.add(
            "a.txt",
            written,
            "text",
            loaded,
            commands="fragment --mask .2 {x} -o {o}.safetensors\ncompare {d}/a.txt {x}",
        )
        from lemtools.els import scales

        sizes = b"# compat none\n3 0.9\n3\n5\n"
        self.add(
            "scales.txt", sizes, "text", lambda path: scales.parse_sizes(path, 3),
            commands="els --bank {d}/image.st --scales {x} --steps 3 -o {o}.safetensors",
        )  # fmt: skip


def there_and_back_of(model: str) -> Callable[[str], None]:
    """A reader that decodes by an encoder's file."""

    def read(path: str) -> None:
        encoder = encode.load(model)
        for signal in loaded(path):
            list(encode.decode([signal], encoder))

    return read


class Paths(str):
    """A folder as helpers.training takes one."""

    def __truediv__(self, name: str) -> str:
        return os.path.join(self, name)
