"""A trained network on disk: one safetensors file, weights and all that is needed to use them.

The JSON object under the metadata key `lem` holds

    v, tool, version    1, 'lem-train', the version that wrote it
    recipe, net         the recipe; the network's record for ``nets.build``
    kind, item          'image', 'spectrum', 'field', 'embedding', 'tokens' or 'audio'; the shape of one item (of audio: of a window of
                        its log-mel spectra), 0 for a side of any length
    target              {'kind': …, 'item': […]} of what it recalls
    fragment            specifications of the losses it was trained on, as lem-fragment's options; [] for none
    classes             number of classes that it knows, or 0
    bytes, measured     of text: bytes a token on average, and whether that was measured (else 1)
    unit                of text: 'byte', or 'base', which is then what a byte is called
    data, common        of text: by which the tokens learnt from and those kept back are known again; the share of the
                        vocabulary that the former have ten times or more
    task                of a model that has learnt a task: which, its states, and how it was put (TASK; train.tasks)
    encoder             of a model that is an encoder, what encode.load reads it by
    front               of spectra, what made them of sounds (transforms.Front.record)
    calibration         of a model that reads levels of noise, how well it does, see calibration.py
    step, seed          how many updates it was trained for, and the run's seed
    card                free text by key: data, licence, seeds, command, numbers

Offsets and gains of the two scales are the tensors `scale.offset`, `scale.gain`, `target_scale.offset` and
`target_scale.gain`.
Nothing is unpickled. train.checkpoint writes it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from ..catalogue.networks import NETWORKS
from ..denoise.contract import Scale
from ..signal import Layout, LemError, Tensor, Value, those
from ..signal.layout import Found
from ..stream.files import LEM, load_tensors
from ..transforms import Front
from . import build, calibration, parts

SCALES = ("scale", "target_scale")


@dataclass
class Model:
    """A network with its record. scale, target_scale: coordinates of its input and of its answer."""

    net: nn.Module
    meta: dict
    scale: Scale = field(default_factory=Scale.image)
    target_scale: Scale = field(default_factory=Scale.image)

    @property
    def family(self) -> str:
        """How it is called: see the package's docstring."""
        return self.net.family

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    @cached_property
    def front(self) -> Front | None:
        """What made its spectra of sounds, where it is known."""
        record = self.meta.get("front")
        return None if record is None else parts.checked(record, self.meta["item"])

    @cached_property
    def counted(self) -> torch.Tensor | None:
        """bool [C, F, 1]: False for parts of its spectra that are always 0; None where there are none such."""
        found = None if self.front is None else parts.counted(self.front, self.meta["item"][0])
        return None if found is None or found.all() else torch.from_numpy(found)

    def fits(self, kind: str, item: tuple[int, ...]) -> bool:
        """Whether it was made for items of this kind and shape."""
        mine = self.meta["item"]
        return kind == self.meta["kind"] and len(mine) == len(item) and all(m in (0, n) for m, n in zip(mine, item))

    def check_fits(self, called: str, kind: str, item: tuple[int, ...]) -> None:
        """LemError, which begins with what the model is called, for items that it was not made for."""
        if self.fits(kind, item):
            return
        mine, way = self.meta["item"], ""
        if kind == self.meta["kind"] == "image" and {mine[0], item[0]} == {1, 3}:
            way = f"; {'--grey' if mine[0] == 1 else '--rgb'} makes them so"
        raise LemError(f"{called} was taught {those(self.meta['kind'], mine)}, and is shown {those(kind, item)}{way}")

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that the file holds, on the CPU."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        for name in SCALES:
            scale = getattr(self, name)
            for part in ("offset", "gain"):
                state[f"{name}.{part}"] = torch.tensor(np.asarray(getattr(scale, part), np.float32))
        return state


RECORD = {
    "recipe": Value("text", needed=False),
    "kind": Value(("image", "spectrum", "field", "embedding", "tokens", "audio")),
    "item": Value("sizes", 0, 2**31),
    "target": Value("object"),
    "fragment": Value("list"),
    "classes": Value("whole", 0, 2**31, needed=False),
    "net": Value("object"),
    "task": Value("object", needed=False),
}
TASK = Layout(
    {
        "task": Value("text"),
        "states": Value("whole", 2, 2**31),
        "supervised": Value("flag"),
        "every": Value("flag"),
        "positions": Value("text"),
        "pause": Value("whole", 0, 2**31),
        **dict.fromkeys(("least", "longest", "context"), Value("whole", 1, 2**31)),
    }
)
NETWORK = Layout(  # of its arguments those that follow from the data
    {
        **dict.fromkeys(("item", "target", "source"), Value("sizes", 0, 2**31, needed=False)),
        **dict.fromkeys(("channels", "vocabulary", "places"), Value("whole", 1, 2**31, needed=False)),
        **dict.fromkeys(("classes", "rows"), Value("whole", 0, 2**31, needed=False)),
        "kind": Value("text", needed=False),
        "conditioned": Value("flag", needed=False),
        "axes": Value("whole", 1, 3, needed=False),
    }
)
TARGET = Layout({"kind": RECORD["kind"], "item": RECORD["item"]})
LAYERS = ("depth", "blocks", "stages")  # what counts layers, each of which has tensors
SCALED = {f"{name}.{part}": Tensor("F32", "...") for name in SCALES for part in ("offset", "gain")}
HUGE = "it is larger than its file"
MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.linspace)
TRUSTED = 1 << 24  # numbers of a network that are in no file: tables of angles


class Bounded(TorchFunctionMode):
    """Within it no tensor is made that has more numbers than `most`."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in MAKERS and math.prod(max(n, 1) for n in _wholes(list(args))) > self.most:
            raise ValueError(HUGE)
        return func(*args, **(kwargs or {}))


def bounded(net: dict, found: Found) -> nn.Module:
    """The network that a record describes, untrained. found: the tensors of its file.

    It is given up as soon as it asks for more tensors or numbers than the file holds. Raises LemError for what is no
    record of a network.
    """
    left = {"tensors": 2 * len(found) + 64, "numbers": TRUSTED + sum(math.prod(shape) for _, shape in found.values())}

    def count(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        left["tensors"] -= 1
        left["numbers"] -= 0 if tensor is None else tensor.numel()
        if min(left.values()) < 0:
            raise ValueError(HUGE)

    try:
        row = NETWORKS[net["net"]]
        for option in row.options:
            if option.name in net and not option.fits(net[option.name]):
                raise ValueError(f"{option.name} is {str(net[option.name])[:40]}")
        layers = _wholes([net.get(name) for name in LAYERS])
        if max(_wholes(net), default=0) > left["numbers"] or max(layers, default=0) > left["tensors"]:
            raise ValueError(HUGE)
        counted = register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)
        try:
            with Bounded(left["numbers"]):
                return build(net)
        finally:
            for hook in counted:
                hook.remove()
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise LemError(
            f"its record of a network does not fit: {(str(error).splitlines() or ['?'])[0][:120]}"
        ) from error


def described(net: nn.Module) -> dict[str, Tensor]:
    """What the file of a network holds."""
    kinds = {name: "float" if tensor.is_floating_point() else "U8" for name, tensor in net.state_dict().items()}
    return {name: Tensor(kinds[name], " ".join(map(str, tensor.shape))) for name, tensor in net.state_dict().items()}


def filled(net: nn.Module, tensors: dict[str, np.ndarray]) -> nn.Module:
    """The network with the tensors, which are as `described` says, in float32. ValueError where they are not."""
    state = {name: torch.from_numpy(np.array(tensors[name])) for name in net.state_dict() if name in tensors}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return net.float()


def _wholes(value: object) -> Iterator[int]:
    """The whole numbers in what JSON holds."""
    if type(value) is int:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _wholes(part)


def _made(meta: dict, found: Found) -> nn.Module:
    """The network of a record that agrees with itself and with the tensors of its file."""
    net = meta.get("net")
    if not isinstance(net, dict):
        raise LemError("damaged record of a network")
    if "encoder" in meta and net.get("net") == "codebooks":
        raise LemError("codebooks, for lem-encode --model; there is no network in it")
    if not isinstance(net.get("net"), str) or net["net"] not in NETWORKS:
        raise LemError(f"made by a newer lemtools ({str(meta.get('version'))[:20]}), which knows other networks")
    Layout(RECORD).check(meta, {})
    TARGET.check(meta["target"], {})
    NETWORK.check({key: value for key, value in net.items() if value is not None}, {})
    row, item, target = NETWORKS[net["net"]], meta["item"], meta["target"]["item"]
    if not row.suits(meta["kind"]):
        raise LemError(f"damaged record: {row.name} is a network for {' or '.join(row.kinds)}, not {meta['kind']}")
    seen = net.get("source") or net.get("item", [net["places"]] if "places" in net else item)
    answer = net.get("target") or (
        net.get("item", item) if net.get("source") else [net.get("target_channels") or item[0]]
    )
    answer = answer if len(answer) > 1 or len(item) == 1 else [*answer, *item[1:]]
    shaped = row.family in ("estimate", "denoise", "sequence", "step", "correct", "frames", "level")
    if "channels" in net and len(item) != 1 + net.get("axes", 2):
        raise LemError(f"a network of {net.get('axes', 2)} spatial axes, where its record has items of {item}")
    if shaped and (seen != item or net.get("channels", item[0]) != item[0] or answer != target):
        raise LemError(f"a network that makes {answer} of {seen}, where its record has {target} of {item}")
    if "task" in meta:
        TASK.check(meta["task"], {})
    if "front" in meta:
        parts.checked(meta["front"], item)
    if "calibration" in meta:
        calibration.check(meta["calibration"])
    return bounded(net, found)


def load(path: str, device: str | torch.device = "cpu") -> Model:
    """Read a model, in float32 and ready for use (eval mode). LemError for a file that is not one, or not whole."""
    shown = os.fsdecode(path)
    wanted = "a model of lem-train (no record of a network in it)"
    made: list[nn.Module] = []

    def layout(meta: dict, found: Found) -> Layout:
        if "net" not in meta:
            raise LemError(f"{shown}: not {wanted}")
        made.append(_made(meta, found))
        return Layout(RECORD, {**described(made[0]), **SCALED}, finite=False, wrong="its weights do not fit its record")

    meta, tensors = load_tensors(path, LEM, wanted, described=layout)
    meta.setdefault("recipe", "an unknown recipe")
    scales = []
    for name, shape in zip(SCALES, (meta["item"], meta["target"]["item"])):
        offset, gain = (_plain(tensors[f"{name}.{part}"]) for part in ("offset", "gain"))
        fits = all(
            np.ndim(v) <= len(shape) and all(n in (1, m) for n, m in zip(np.shape(v)[::-1], shape[::-1]))
            for v in (offset, gain)
        )
        if not fits or not np.all((np.abs(gain) > 0) & np.isfinite(gain)) or not np.all(np.isfinite(offset)):
            raise LemError(f"{shown}: damaged ({name})")
        scales.append(Scale(offset, gain))
    return Model(filled(made[0], tensors).to(device).eval(), meta, *scales)


def _plain(array: np.ndarray) -> float | np.ndarray:
    return float(array) if array.ndim == 0 else array
