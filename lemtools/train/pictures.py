"""What a network recalls of some memories, as one PNG: the wholes above, their fragments, and what came back below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..media.images import encode_image
from ..stream import whole_file, write_all
from .data import Batches
from .run import Prepared

COLUMNS = 8


def write(prepared: Prepared, to_device: Callable, path: str) -> None:
    """Recall the first items kept back with the network as it is. A denoising network answers at half the noise."""
    spec = prepared.validation
    batch = to_device(Batches(replace(spec, batch=min(COLUMNS, len(spec.items))))[0])
    target, condition, _ = prepared.objective.unpack(batch)
    rows = [target]
    if condition is not None and condition.value.shape == target.shape:
        rows.append(condition.value)
    rows.append(prepared.objective.recalled(batch))
    images = [prepared.model.target_scale.decode(row.float().cpu()).clamp(0, 1).numpy() for row in rows]
    grid = np.stack(images)  # [rows, columns, C, H, W]
    if grid.shape[2] not in (1, 3):
        return
    grid = np.pad(grid, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    r, n, c, h, w = grid.shape
    sheet = grid.transpose(2, 0, 3, 1, 4).reshape(c, r * h, n * w)
    with whole_file(path) as file:
        write_all(file, [encode_image(np.rint(sheet * 255).astype(np.uint8), "PNG")])
