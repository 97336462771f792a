"""The log of a run: JSON Lines, one record a line."""

from __future__ import annotations

import json
import math
import os

from ..signal import LemError
from ..stream import whole_file, write_all


class Log:
    """The file, or none; what a killed run wrote after its last checkpoint, at `step`, is dropped."""

    def __init__(self, path: str | None, step: int):
        self.path = path
        if path is None or (os.path.exists(path) and not os.path.isfile(path)):
            return
        try:
            with open(path, "a+", encoding="utf-8") as file:
                file.seek(0)
                lines = [line for line in file if line.endswith("\n") and json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError):
            raise LemError(f"{path}: not a log of lem-train; name another --log-file") from None
        with whole_file(path) as file:
            write_all(file, [line.encode() for line in lines])

    def write(self, record: dict) -> None:
        if self.path is None:
            return
        finite = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in record.items()}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(finite) + "\n")
        except OSError as error:
            raise LemError(f"{self.path}: {error.strerror}") from error
