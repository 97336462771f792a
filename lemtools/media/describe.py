"""What a stream or a checkpoint holds, from its headers alone."""

import contextlib
import json
import math
import os

from .. import stream
from ..catalogue.networks import EMBEDDING, NETWORKS, THINKING
from ..catalogue.thoughts import dims
from ..signal import LemError, Part, Value
from ..stream.files import opened
from .find import is_model, sniff, walk

_SIZES = Value("sizes", 1, 2**40)
_PAYLOAD = ("data", "codes", "values", "packed", "mask")


def describe(path: str, max_bytes: int | None = None) -> dict:
    """Facts about one safetensors stream or file ('-' is stdin), or about the folder of a model, the tensors themselves passed over.

    Keys: file, documents, items, bytes, kind, shape (of one whole memory), rate (each a list where documents differ), ops,
    history (the entries of all documents; what differs within one is a list), bits_per_element, alphabet of tokens (its name and symbols), beside (what else stands beside their ids), tensors and card of a foreign file or checkpoint, of a fragment of a model its tensors with their bits, and model (how many weights it has, how many have lost something, the bits of either, and its files), calibration of a model that reads levels of noise, front of a model of spectra (what made them of sounds), embedding of a language model (its arm, bits of it and of the head, by which the text is known again, the share of its vocabulary that the text has ten times), task of a model that has learnt one, thoughts of one that has some, complete, and
    problem: None, or what is cut or damaged. OSError where the file cannot be read; LemError where it is no stream.
    """
    shown = "standard input" if path == "-" else path
    facts = dict.fromkeys(
        (
            "kind",
            "shape",
            "rate",
            "ops",
            "history",
            "bits_per_element",
            "alphabet",
            "beside",
            "tensors",
            "model",
            "card",
            "calibration",
            "front",
            "embedding",
            "task",
            "thoughts",
            "problem",
        )
    )
    facts = {"file": shown, "documents": 0, "items": 0, "bytes": 0, **facts, "complete": False}
    if path != "-" and os.path.isdir(path):
        return facts | _folder(path)
    with open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-") as file:
        source = stream.Source(file, shown, max_bytes)
        head = source.peek(16)
        if head and not stream.looks_like_safetensors(head) and len(head) >= 9:
            form, family = sniff(head)
            but = "" if family == "text" else f" but {form}"
            raise LemError(f"{shown}: not a safetensors stream{but}; lem-info reads streams and checkpoints")
        heads: list[dict] = []
        try:
            _walk(source, facts, heads)
        except LemError as error:
            facts["problem"] = str(error)
        facts |= {key: _several([head.get(key) for head in heads]) for key in ("kind", "shape", "rate", "alphabet")}
        facts["beside"] = sorted({name for head in heads for name in head["beside"]}) or None
        facts |= {key: _entries([head.get(key) or [] for head in heads]) for key in ("ops", "history") if heads}
        facts["bytes"] = source.place
    return facts


def _folder(path: str) -> dict:
    """The tensors of a model's folder, and what they take. LemError for another folder, and for one with a damaged file."""
    files = sorted(walk(path, None)) if is_model(path) else []
    headers: list[tuple[str, stream.Header]] = []
    for file in files:
        if file.endswith(".safetensors"):
            with opened(file) as (_, header):
                headers.append((os.path.relpath(file, path), header))
    if not headers:
        raise LemError(f"{path}: a folder that is no model; name its files")
    tensors = [(Part(file, "tensor", k, *about), about) for file, h in headers for k, about in h.found.items()]
    parts = [(part, part.bytes * 8, False) for part, _ in tensors] + [(Part(f, "file"), 0, False) for f in files]
    lines = [f"{_shown(part)} {kind} {list(shape)}" for part, (kind, shape) in tensors]
    size = sum(os.path.getsize(file) for file in files)
    return {"documents": len(headers), "bytes": size, "tensors": lines, "model": _model(parts), "complete": True}


def _shown(part: Part) -> str:
    """A tensor's name, after its folder in the model, where it lies in one."""
    return os.path.join(os.path.dirname(part.file), part.name)


def _walk(source: stream.Source, facts: dict, heads: list[dict]) -> None:
    """Go through a source; what the documents with items say of themselves is appended to `heads`."""
    bits, elements, ours = 0, 0, False
    parts: list[tuple[Part, int, bool]] = []
    while (header := stream.read_header(source)) is not None:
        facts["documents"] += 1
        gone = source.skip(header.size)
        if gone < header.size:
            raise LemError(f"{source.name}: cut short, {gone} of {header.size} bytes of document {facts['documents']}")
        if header.lem is None:
            facts["tensors"] = [
                f"{name} {dtype} {list(shape)}" for name, (dtype, shape, _, _) in header.tensors.items()
            ]
            facts["card"] = {k: _parsed(v) for k, v in header.meta.items()} or None
            model = (facts["card"] or {}).get("lem")
            if isinstance(model, dict):
                facts["calibration"] = model.pop("calibration", None)
                facts["front"] = model.pop("front", None)
                facts["task"] = model.pop("task", None)
                facts["embedding"] = _embedding(model, header.tensors)
                facts["thoughts"] = _thoughts(model)
            facts["complete"] = True
            continue
        ours, lem = True, header.lem
        facts["complete"] = lem.get("last") is True
        n = lem["n"]
        if n == 0:
            continue
        shape = lem.get("shape") or list(header.tensors["data"][1][1:])
        whole = next((op["shape"] for op in lem.get("ops", []) if "shape" in op), shape)
        if not _SIZES.fits(whole):
            raise LemError(f"{source.name}: damaged document (items of {str(whole)[:40]})")
        facts["items"] += n
        size, count = _bits(header), n * math.prod(whole)
        if "part" in lem:
            part = Part.read(lem["part"])
            size, count = (size, part.elements) if part.what == "tensor" and part.elements else (0, 0)
            parts.append((part, size, bool(lem.get("ops"))))
            whole = None
        elements, bits = elements + count, bits + size
        beside = {name.partition(".")[0] for name in header.tensors} & {"spans", "scores", "words"}
        heads.append(lem | {"shape": whole, "beside": beside})
    if facts["documents"] == 0:
        raise LemError(f"{source.name}: empty")
    facts["bits_per_element"] = bits / elements if elements else None
    if parts:
        facts["tensors"] = [
            f"{_shown(part)} {part.type} {list(part.shape)}"
            + (f" {size / part.elements:.4g} bits" if part.elements else "")
            for part, size, _ in parts
            if part.what == "tensor"
        ]
        facts["model"] = _model(parts)
    if ours and not facts["complete"]:
        raise LemError(f"{source.name}: the stream ends without its last document; an earlier stage was cut off")


def _bits(header: stream.Header) -> int:
    """What a document's items take, see signal.bits_per_element."""
    return 8 * sum(
        stop - begin
        for name, (_, _, begin, stop) in header.tensors.items()
        if name in _PAYLOAD or name.startswith("ops.")
    )


def _model(parts: list[tuple[Part, int, bool]]) -> dict:
    """How many weights a model has, how many of them lost something, and the bits of both. parts: each with its bits."""
    found: dict[str, float | None] = {}
    for what, some in (("weights", parts), ("lossy_weights", [each for each in parts if each[2]])):
        count, bits = sum(p.elements for p, *_ in some if p.what == "tensor"), sum(size for _, size, _ in some)
        found |= {what: count, f"bits_per_{what[:-1]}": bits / count if count else None}
    return found | {"files": sum(part.what != "tensor" for part, *_ in parts)}


def _embedding(model: dict, tensors: dict) -> dict | None:
    """How a language model turns tokens into vectors, and the bits that it stores for that and for the way back."""
    net = model.get("net")
    name = net.get("net") if isinstance(net, dict) else None
    if not isinstance(name, str) or name not in NETWORKS or not NETWORKS[name].stored:
        return None
    known = {option.name: net.get(option.name, option.value()) for option in EMBEDDING}
    bits = {
        what: 8 * sum(stop - begin for key, (_, _, begin, stop) in tensors.items() if key.startswith(prefix))
        for what, prefix in NETWORKS[name].stored.items()
    }
    table = model.pop("table", None)
    text = {key: model.pop(key) for key in ("data", "common") if key in model}
    return known | {"bits": bits} | text | (table if isinstance(table, dict) else {})


def _thoughts(model: dict) -> dict | None:
    """Which dimensions of a language model's width its head does not read, and how they are carried on."""
    net = model.get("net")
    if not isinstance(net, dict) or not net.get("thoughts"):
        return None
    found = {option.name.removeprefix("thoughts_"): net.get(option.name) for option in THINKING}
    with contextlib.suppress(ArithmeticError, LookupError, TypeError, ValueError):  # of a damaged record
        found["dims"] = dims(net["width"], net["thoughts"])
    return found


def _several(values: list):
    """What all of them are; else a list of those that differ; None of none."""
    found = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    return found if len(found) > 1 else next(iter(found), None)


def _entries(rows: list[list[dict]]) -> list[dict]:
    """The entries of several documents as those of one: in place of those of one tool or operation, and one encoder, at one
    place, one entry, in which what differs is a list."""
    alike: dict[tuple, list[dict]] = {}
    for row in rows:
        for place, entry in enumerate(row):
            alike.setdefault((place, *(str(entry.get(key)) for key in ("op", "tool", "encoder"))), []).append(entry)
    found = []
    for _, same in sorted(alike.items(), key=lambda item: item[0][0]):
        keys = dict.fromkeys(key for entry in same for key in entry)
        found.append({key: _several([entry.get(key) for entry in same]) for key in keys})
    return found


def _parsed(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
