from . import media as media
from . import signal as signal
from . import stream as stream
from .catalogue import LemError as LemError
from .front import Stream as Stream
from .front import compare as compare
from .front import encode as encode
from .front import fit as fit
from .front import fragment as fragment
from .front import load as load
from .front import reconstruct as reconstruct
from .front import save as save
from .front import train as train
from .signal import Signal as Signal

__version__: str
