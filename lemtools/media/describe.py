"""What a stream or a checkpoint holds, from its headers alone."""

import json
import math

from .. import stream
from ..signal import LemError, Value
from .find import sniff

_SIZES = Value("sizes", 1, 2**40)
_PAYLOAD = ("data", "codes", "values", "packed", "mask")


def describe(path: str, max_bytes: int | None = None) -> dict:
    """Facts about one safetensors stream or file ('-' is stdin), the tensors themselves passed over.

    Keys: file, documents, items, bytes, kind, shape (of one whole memory; a list of them where they differ), rate, ops,
    history, bits_per_element, tensors and card of a foreign file or checkpoint, calibration of a model that reads levels of noise, front of a model of spectra (what made them of sounds), complete, and
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
            "tensors",
            "card",
            "calibration",
            "front",
            "problem",
        )
    )
    facts = {"file": shown, "documents": 0, "items": 0, "bytes": 0, **facts, "complete": False}
    with open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-") as file:
        source = stream.Source(file, shown, max_bytes)
        head = source.peek(16)
        if head and not stream.looks_like_safetensors(head) and len(head) >= 9:
            form, family = sniff(head)
            but = "" if family == "text" else f" but {form}"
            raise LemError(f"{shown}: not a safetensors stream{but}; lem-info reads streams and checkpoints")
        try:
            _walk(source, facts)
        except LemError as error:
            facts["problem"] = str(error)
        facts["bytes"] = source.place
    return facts


def _walk(source: stream.Source, facts: dict) -> None:
    shapes, bits, elements, ours = [], 0, 0, False
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
        elements += n * math.prod(whole)
        bits += 8 * sum(
            stop - begin
            for name, (_, _, begin, stop) in header.tensors.items()
            if name in _PAYLOAD or name.startswith("ops.")
        )
        shapes += [whole] if whole not in shapes else []
        for key in ("kind", "rate", "ops", "history"):
            facts[key] = lem.get(key) if facts[key] in (None, []) else facts[key]
    if facts["documents"] == 0:
        raise LemError(f"{source.name}: empty")
    facts["shape"] = shapes[0] if len(shapes) == 1 else shapes or None
    facts["bits_per_element"] = bits / elements if elements else None
    if ours and not facts["complete"]:
        raise LemError(f"{source.name}: the stream ends without its last document; an earlier stage was cut off")


def _parsed(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
