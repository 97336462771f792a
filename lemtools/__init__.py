"""lemtools: Unix tools for fragmented memories. To remember is to denoise."""

__version__ = "0.1.0"
