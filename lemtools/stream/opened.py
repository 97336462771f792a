"""Files of tensors that are read by name: encoders, networks, states of runs."""

import contextlib
import os
from collections.abc import Iterator

from ..signal import LemError


@contextlib.contextmanager
def opened(path: str, framework: str) -> Iterator:
    """safetensors' safe_open, its tensors those of `framework` ('np', 'pt'): what it cannot open or read, there or in
    the block, is a LemError of one line that names the file."""
    from safetensors import SafetensorError, safe_open

    shown = os.fsdecode(path)
    try:
        with safe_open(path, framework) as file:
            yield file
    except FileNotFoundError as error:
        raise LemError(f"{shown}: no such file") from error
    except SafetensorError as error:
        raise LemError(f"{shown}: not a whole safetensors file ({error})") from error
    except OSError as error:
        raise LemError(f"{shown}: {error.strerror or error}") from error
