"""An emulator for `lem-thermalize --exec 'python step.py SYSTEM'`: every batch of states is answered with the next one."""

import sys
from dataclasses import replace
from pathlib import Path

from lemtools import stream

sys.path.insert(0, str(Path(__file__).parents[1]))
from dynamics import SYSTEMS

system = SYSTEMS[sys.argv[1]]  # in your own: load a network, and call it below
with open(0, "rb", buffering=0) as source, open(1, "wb", buffering=0) as target:
    batches = stream.read(stream.Source(source, "standard input"), loop=True)
    stream.write((replace(b, data=system.step(b.data.astype("f8")).astype("f4")) for b in batches), target)
