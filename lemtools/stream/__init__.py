"""Streams of signals through pipes: complete safetensors documents back to back, one a batch."""

from .files import load_tensors, opened, record_of, save_tensors, whole_file
from .on_disk import OnDisk
from .reading import key_of, read
from .source import MAX_BYTES, MAX_ITEM, Source, widen_pipe, write_all
from .wire import MAX_HEADER, Header, as_array, looks_like_safetensors, read_header, read_tensors
from .writing import document, end, write, write_one

__all__ = [
    "MAX_BYTES",
    "MAX_HEADER",
    "MAX_ITEM",
    "Header",
    "OnDisk",
    "Source",
    "as_array",
    "document",
    "end",
    "key_of",
    "load_tensors",
    "looks_like_safetensors",
    "opened",
    "read",
    "read_header",
    "read_tensors",
    "record_of",
    "save_tensors",
    "whole_file",
    "widen_pipe",
    "write",
    "write_all",
    "write_one",
]
