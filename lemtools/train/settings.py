"""What a user asks of a run; what the request leaves open is resolved once, from the recipe, and never changed."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from ..catalogue import Option, Row
from ..catalogue.recipes import RECIPES
from ..device import pick
from ..media import Reading
from ..signal import LemError
from .data import Items

# what may differ when a run is resumed: where it runs and what it reports, not what comes out
FREE = ("output", "workers", "device", "log", "pictures", "save_every", "keep_every", "compile", "notes", "gates")
# settings that are younger than the oldest states
LATER = (
    "preset",
    "kind",
    "resize",
    "grey",
    "rgb",
    "background",
    "skip_bad",
    "init",
    "rows",
    "places",
    "noise_injection",
    "pushforward",
    "own_rollouts",
    "drift",
    "levels",
    "encoder",
    "table",
    "longest",
    "asked",
    "positions",
    "pause",
    "states",
    "runs",
    "aligned",
    "onto",
    "reader",
    "reader_layer",
    "pairs",
    "more",
    "onto_more",
    "unpaired",
    "teacher",
)

PATTERN = re.compile(r"[^%]*%(0\d)?d[^%]*")  # of the names of runs side by side
DEFAULTS = {name: option.default for name, (option, _) in RECIPES.options().items()}


@dataclass(frozen=True)
class Settings:
    """A run. recipe: of catalogue.recipes. data, target, validate: files and folders; key: the tensor or array to read of
    foreign ones; kind, resize, grey, rgb, background, skip_bad: how data and validate are read, see media.Reading, and
    notes: what was done to them. labels: a file of classes to learn, too. fragment: lem-fragment's options as text, operations: the
    same, parsed; one of them is drawn for each item.

    crop: side of random crops of images; 0: whole ones. augment: as augment.parse takes it. arch, width, depth,
    options: the network (network.record). weighting: 'level', 'log' or 'plain' (objectives). holdout: items kept back
    for validation where no `validate` names others; None: 1 in 50, at most 256, of text and for rvq 1 in 10. steps:
    updates; None: by recipe; flops: in their place, a budget of floating-point operations, forward and backward,
    padding included. batch: items an update, of all processes together; None: by recipe. lr: highest rate of AdamW;
    weight_decay, beta2: of the same. decay: 'cosine', 'constant', 'exponential:R' (R a step). warmup: steps. ema: decay
    of the average of the weights, or of codebooks' sums; None: by recipe. clip: norm of the gradient; 0: none. dtype:
    'auto', 'float32', 'bfloat16'. weights: their type in the model's file, 'float32' or 'float16'. save_every: steps
    between checkpoints; keep_every: steps between models that are kept, from step 0 on, None: none is; log: a JSON Lines file; pictures: a folder for PNGs of what is recalled. on: 'tokens' or
    'dense', of lm; codec: files of encodings fitted before (recipes.text);
    table: a model of whose embedding codes are made (tables). longest, asked, positions, pause, states: how a task is put
    (tasks.Asking, answers.Supervised). card: free text by key, kept with the model.
    runs: how many, of the seeds from `seed` on, side by side (beside), with a %d for the seed in `output`.
    init: a trained model whose weights the network begins with. preset: of the recipe and the network, for what is left open; of steps and flops it takes the shorter way.
    encoder, sound: what makes spectra of the sounds that data and validate then are, and its options by keyword (sounds.coder).
    rows: of a rollout side by side; places: of a frame, see recipes.frames; noise_injection, pushforward, own_rollouts: see
    objectives.Step; drift: what an emulator claimed after each of the data; levels: of noise, see objectives.Denoise and
    levels.Levels. aligned: where an aligner put boundaries, files and folders (boundaries.read). onto: what the data of a translation are paired with; reader, reader_layer: the language model that reads it, and where;
    pairs: how many of the pairs; more, onto_more: files of vectors without partners; unpaired: no pairs are known.
    gates: updates after which it is found out whether a language model learns as one must (gates). teacher: classifiers that are shown whole what a fragment is
    shown of, see recipes.classes.
    """

    recipe: str
    data: list[str]
    output: str
    fragment: list[str] = field(default_factory=list)
    operations: list[list[dict]] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    key: str | None = None
    labels: str | None = None
    crop: int = 0
    augment: list[str] = field(default_factory=list)
    arch: str | None = None
    width: int | None = None
    depth: int | None = None
    options: dict = field(default_factory=dict)
    weighting: str = DEFAULTS["weighting"]
    holdout: int | None = None
    steps: int | None = None
    flops: float | None = None
    batch: int | None = None
    lr: float | None = None
    decay: str = DEFAULTS["decay"]
    warmup: int | None = None
    weight_decay: float = DEFAULTS["weight_decay"]
    beta2: float = DEFAULTS["beta2"]
    ema: float | None = None
    clip: float = DEFAULTS["clip"]
    dtype: str = DEFAULTS["dtype"]
    weights: str = DEFAULTS["weights"]
    compile: bool = False
    seed: int = DEFAULTS["seed"]
    save_every: int = DEFAULTS["save_every"]
    keep_every: int | None = None
    workers: int | None = None
    device: str = DEFAULTS["device"]
    log: str | None = None
    pictures: str | None = None
    on: str | None = None
    codec: list[str] | None = None
    card: dict = field(default_factory=dict)
    preset: str | None = None
    kind: str | None = None
    resize: tuple[int, int] | None = None
    grey: bool | None = None
    rgb: bool | None = None
    background: str | None = None
    skip_bad: bool | None = None
    init: str | None = None
    teacher: list[str] | None = None
    rows: int | None = None
    places: int | None = None
    noise_injection: float | None = None
    pushforward: int | None = None
    own_rollouts: int | None = None
    drift: list[str] | None = None
    levels: tuple[float, float] | float | None = None
    table: str | None = None
    longest: int | None = None
    asked: str | None = None
    positions: str | None = None
    pause: int | None = None
    states: bool | None = None
    runs: int | None = None
    encoder: str | None = None
    sound: dict | None = None
    gates: int | None = None
    aligned: list[str] | None = None
    onto: list[str] | None = None
    reader: str | None = None
    reader_layer: int | None = None
    pairs: int | None = None
    more: list[str] | None = None
    onto_more: list[str] | None = None
    unpaired: bool | None = None
    notes: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def outputs(self) -> list[str]:
        """The model's file, or that of each run side by side."""
        return [self.output] if self.runs is None else [one.output for one in self.each_run()]

    def each_run(self) -> list[Settings]:
        """The settings of each of the runs side by side: the seeds from `seed` on, and files by their seeds, a table's, too, where
        it has a %d."""
        if not PATTERN.fullmatch(self.output):
            raise LemError(
                f"-o {self.output}: of --runs each model has its seed in its name, as in -o full-%d.safetensors"
            )
        seeds = range(self.seed, self.seed + (self.runs or 1))
        each = PATTERN.fullmatch(self.table or "")
        return [
            replace(
                self,
                seed=seed,
                runs=None,
                output=self.output % seed,
                table=self.table % seed if self.table and each else self.table,
            )
            for seed in seeds
        ]

    @cached_property
    def reading(self) -> Reading:
        """How data and validate are read."""
        looks = {name: getattr(self, name) for name in ("key", "kind", "background", "skip_bad")}
        looks |= {"size": self.resize, "colour": "grey" if self.grey else "rgb" if self.rgb else None}
        return Reading(note=self.notes.append, **{name: value for name, value in looks.items() if value is not None})

    def fingerprint(self, items: Items, *pairs: np.ndarray | None) -> dict:
        """What must be the same for the run to go on, as JSON has it: settings; count and shape of the data, a checksum
        of some. States that were written before a field came do not have it: it is left out where it is None."""
        plain = {k: v for k, v in asdict(self).items() if k not in (*FREE, "operations", "card")}
        sound = plain.pop("sound") or {}
        plain = {k: v for k, v in plain.items() if k not in LATER or v is not None} | sound
        data = {"items": len(items), "item": list(items.item), "checksum": checksum(items.data, *pairs, items.label)}
        return json.loads(json.dumps(plain)) | data


FIELDS = {one.name for one in fields(Settings)}


def device_of(settings: Settings) -> str:
    """'cpu', 'cuda' or 'mps'. LemError for one that is not here."""
    try:
        return pick(settings.device, float64=settings.recipe == "diffusion")
    except ValueError as error:
        raise LemError(f"--device {settings.device}: {error}") from error


def resolve(settings: Settings, begun: str | None = None) -> Settings:
    """The settings with nothing left open but what the data decide.

    begun: the dtype of the run that is resumed; 'auto' goes on in it. Raises LemError for settings that do not go
    together.
    """
    check(settings)
    row = RECIPES[settings.recipe]
    settings = _preset(settings, row)
    found: dict = {"device": device_of(settings)}
    found |= {k: row.facts[k] for k in ("steps", "batch", "lr", "ema") if getattr(settings, k) is None}
    depth = settings.options.get("depth", row.deep if settings.depth is None else settings.depth)
    if row.deep and "lr" in found and isinstance(depth, int) and depth > 0:
        found["lr"] = round(row.lr * (row.deep / depth) ** 0.5, 6)
    if not row.family:
        usual = {name: option.value() for name, option in properties(row).items()}
        found["options"] = usual | settings.options
    if settings.dtype == "auto" and begun not in (None, "auto"):
        found["dtype"] = begun
    elif settings.dtype == "auto":
        half = row.family and not row.precise and found["device"].startswith("cuda")
        found["dtype"] = "bfloat16" if half else "float32"
    return replace(settings, **found)


def _preset(settings: Settings, row: Row) -> Settings:
    """The settings with what the preset brings for those that are left open."""
    if settings.preset is None:
        return settings
    if settings.preset not in row.presets:
        there = (
            f"one of {row.name}, which has {', '.join(row.presets)}" if row.presets else f"for {row.name}: it has none"
        )
        raise LemError(f"--preset {settings.preset} is not {there}")
    brought = {k: v for k, v in row.presets[settings.preset].items() if k in FIELDS - {"arch", "options"}}
    for others in (("steps", "flops"), ("fragment", "operations")):  # chosen in either way, they are chosen
        if not all(_is_open(settings, name) for name in others):
            brought = {k: v for k, v in brought.items() if k not in others}
    brought = {k: v for k, v in brought.items() if _is_open(settings, k)}
    properties = row.presets[settings.preset].get("options", {}) | settings.options
    return replace(settings, **brought, options=properties)


def _is_open(settings: Settings, name: str) -> bool:
    """Whether a setting is what it is where nobody chooses it; 0 may be chosen."""
    return getattr(settings, name) in (None, [], Settings.__dataclass_fields__[name].default)


def check(settings: Settings) -> None:
    """Raise LemError for settings that contradict each other, or that the recipe does not take."""
    row = RECIPES.find(settings.recipe)
    if not settings.data:
        raise LemError("nothing to learn from: give --data")
    if settings.output and not settings.output.endswith(".safetensors"):
        raise LemError(f"-o {settings.output}: a model is a .safetensors file")
    if settings.grey and settings.rgb:
        raise LemError("--grey and --rgb: give one of them")
    if settings.flops is not None and settings.steps is not None:
        raise LemError("--steps and --flops both say how long: give one of them")
    if settings.decay not in ("cosine", "constant") and not _is_exponential(settings.decay):
        raise LemError(f"--decay {settings.decay}: cosine, constant, or exponential:R with R of 0 to 1")
    for one in fields(Settings):
        problem = RECIPES.refused(one.name, row.name)
        if problem and getattr(settings, one.name) not in (None, False, 0, [], one.default):
            raise LemError(problem)
    if not row.family:
        check_properties(row.name, settings.options, properties(row))


def properties(row: Row) -> dict[str, Option]:
    """Of what learns without a network: the options of its recipe that are no settings of a run, and more."""
    own = (*(option for option in row.options if option.name not in FIELDS), *row.properties)
    return {option.name: option for option in own}


def check_properties(called: str, chosen: Mapping, known: Mapping[str, Option]) -> None:
    """Raise LemError for a property that there is not, or for a value that it does not take."""
    for name, value in chosen.items():
        if name not in known:
            raise LemError(f"--set {name}: {called} has no {name!r}; it has {', '.join(known)}")
        if not known[name].fits(value):
            raise LemError(f"--set {name}={value}: it takes {known[name].wanted()}")


def _is_exponential(decay: str) -> bool:
    name, _, rate = decay.partition(":")
    try:
        return name == "exponential" and 0 < float(rate) <= 1
    except ValueError:
        return False


def checksum(*arrays) -> int:
    """CRC-32 over up to 64 items, spread over the set, of each array that is there."""
    value = 0
    for array in arrays:
        count = 0 if array is None else len(array)
        for i in np.linspace(0, count - 1, min(count, 64)).astype(int):
            value = zlib.crc32(np.ascontiguousarray(array[i]).tobytes(), value)
    return value


def differences(then: dict, now: dict) -> list[str]:
    """Settings that are not what they were, as '--lr 0.001, not 0.0005', properties of the network each by itself."""
    facts = {"items": "number of items", "item": "shape of an item"}
    contents = {"checksum": "the data", "tables": "the tables", "teachers": "the teacher"}
    then, now = _apart(then), _apart(now)
    out = []
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            name = key if key.startswith("--") else facts.get(key, "--" + key.replace("_", "-"))
            was, wanted = ("unset" if one.get(key) is None else one[key] for one in (then, now))
            out.append(f"other contents of {contents[key]}" if key in contents else f"{name} {was}, not {wanted}")
    return out


def _apart(found: dict) -> dict:
    """A fingerprint whose properties stand under the names by which they are given."""
    flags = {option.name: option.flag for option in RECIPES.find(found["recipe"]).options} if "recipe" in found else {}
    own = {flags.get(name, f"--set {name}"): value for name, value in found.get("options", {}).items()}
    return {key: value for key, value in found.items() if key != "options"} | own
