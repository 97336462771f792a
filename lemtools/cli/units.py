"""Numbers as people say them."""


def duration(seconds: float) -> str:
    """'40 s', '12 min', '20 h', '3 days': two digits of the largest unit that fits."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"


def amount(number: float, unit: str) -> str:
    """'120 MB', '3.4 TFLOP', '25 M' for 120e6 bytes, 3.4e12 operations, 25e6 of anything."""
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{_short(number / size)} {prefix}{unit}"
    return f"{_short(number)} {unit}".strip()


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
