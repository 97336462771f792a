"""The table of encoders agrees with the classes that it names."""

import inspect

import pytest

from lemtools.catalogue.encoders import ENCODERS
from lemtools.catalogue.encoding import RESIDUAL
from lemtools.encode.contract import Encoder, Fitted
from lemtools.vq.residual import RVQ


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_says_what_its_class_takes(name):
    row = ENCODERS[name]
    cls = row.load()
    assert cls.name == name and issubclass(cls, Fitted if row.fitted else Encoder) and not cls.__abstractmethods__
    assert bool(row.back) == (cls.decode is not Encoder.decode)
    for option in row.options:
        used = cls.asked if row.fitted else cls
        function = RVQ.fit if option in RESIDUAL and name == "rvq" else cls.fit if option.settled else used
        keyword = inspect.signature(function).parameters[option.name]
        assert option.default in (None, keyword.default), option.flag
