"""The log of a run."""

import os

import pytest

from lemtools.signal import LemError
from lemtools.train.log import Log


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_log_that_is_full_is_named():
    with pytest.raises(LemError, match="^/dev/full: No space left on device$"):
        Log("/dev/full", 0).write({"step": 1})
