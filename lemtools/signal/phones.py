# ruff: noqa: RUF001, RUF002
"""The phones of English in three alphabets, the nearest of them to other phones, and the classes of all.

ARPABET is that of the CMU pronouncing dictionary without stress; IPA that of General American; `kokoro` is misaki's, with one
letter for each diphthong (A I O W Y) and affricate. SAMPA (Wells 1997) and further IPA letters are read only: they name phones
of other languages, for which `nearest` has the English phone that sounds most like it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..catalogue import LemError


class Phone(NamedTuple):
    """One phone as each alphabet writes it, and its class."""

    arpabet: str
    ipa: str
    kokoro: str
    kind: str


CLASSES = ("vowel", "approximant", "nasal", "fricative", "affricate", "stop", "silence")
PAUSE = "SIL"  # in ARPABET; other alphabets leave the label of a pause empty

_TABLE = """
AA ɑ ɑ vowel       | AE æ æ vowel       | AH ʌ ʌ vowel        | AO ɔ ɔ vowel       | AW aʊ W vowel
AY aɪ I vowel      | EH ɛ ɛ vowel       | ER ɝ ɜɹ vowel       | EY eɪ A vowel      | IH ɪ ɪ vowel
IY i i vowel       | OW oʊ O vowel      | OY ɔɪ Y vowel       | UH ʊ ʊ vowel       | UW u u vowel
L l l approximant  | R ɹ ɹ approximant  | W w w approximant   | Y j j approximant  | M m m nasal
N n n nasal        | NG ŋ ŋ nasal       | DH ð ð fricative    | F f f fricative    | HH h h fricative
S s s fricative    | SH ʃ ʃ fricative   | TH θ θ fricative    | V v v fricative    | Z z z fricative
ZH ʒ ʒ fricative   | CH tʃ ʧ affricate  | JH dʒ ʤ affricate   | B b b stop         | D d d stop
G ɡ ɡ stop         | K k k stop         | P p p stop          | T t t stop
"""
PHONES = tuple(Phone(*row.split()) for line in _TABLE.split("\n") for row in line.split("|") if row.strip())
KINDS = {phone.arpabet: phone.kind for phone in PHONES} | {PAUSE: "silence"}

# what is read beside the table, as the nearest ARPABET phone; a symbol that is not here is read by its first letters
_MORE = {
    "arpabet": "AX AH, AXR ER, IX IH, UX UW, DX D, EL L, EM M, EN N, NX N, WH W, Q T, H HH",
    "ipa": "a AA, aː AA, ɒ AA, ɐ AH, ə AH, ɚ ER, ɜ ER, ɜː ER, ɘ AH, e EY, eː EY, ɛː EH, iː IY, ɨ IH, o OW, oː OW, ɔː AO, "
    "uː UW, ʉ UW, y UW, yː UW, ʏ UH, ø ER, øː ER, œ ER, œː ER, əʊ OW, ɔʏ OY, ɔø OY, g G, ɾ D, ʔ T, r R, ʁ R, ʀ R, ɻ R, ɫ L, "
    "ʎ L, ɲ N, ç SH, x HH, χ HH, ɦ HH, ɣ G, β V, ʋ V, ʍ W, ʤ JH, ʧ CH, pf F, ts S, ɥ W",
    "kokoro": "ə AH, ɜ ER, ᵊ AH, ᵻ IH, T D, ɾ D, ʔ T, a AE, Q OW",
    "sampa": "a AA, A AA, {} AE, V AH, @ AH, 6 AH, 3 ER, E EH, e EY, I IH, i IY, O AO, Q AA, o OW, U UH, u UW, y UW, Y UH, "
    "2 ER, 9 ER, 8 ER, aI AY, ai AY, aU AW, AU AW, aO AW, AO AW, ao AW, OY OY, OI OY, eI EY, ei EY, @U OW, @u OW, OU OW, Ow OW, "
    "tS CH, dZ JH, p P, b B, t T, d D, k K, g G, ? T, m M, n N, J N, N NG, f F, v V, B V, T TH, D DH, s S, z Z, S SH, Z ZH, "
    "C SH, x HH, X HH, h HH, H HH, G G, j Y, w W, l L, L L, r R, R R, 4 R, pf F, ts S".replace("{}", "{"),
}
_SILENT = ("", "SIL", "sil", "sp", "spn", "pau", "<p:>", "<sil>", "#", "_", "(...)", "h#", "<p>")
_MARKS = str.maketrans("", "", "ˈˌ'\"ːˑ:0123456789͡‿̩̯̃ʰʲ˞~")
ALPHABETS = ("arpabet", "ipa", "kokoro")  # that are written
READ = (*ALPHABETS, "sampa")

_READ = {name: {getattr(phone, name): phone.arpabet for phone in PHONES} for name in ALPHABETS} | {"sampa": {}}
for _name, _text in _MORE.items():
    _READ[_name] |= dict(pair.split() for pair in _text.split(", "))


def spelt(phones: Iterable[str], alphabet: str) -> list[str]:
    """ARPABET phones in an alphabet of ALPHABETS; a pause is PAUSE in ARPABET and empty in the others.

    >>> spelt(["HH", "AY"], "kokoro")
    ['h', 'I']
    """
    if alphabet not in ALPHABETS:
        raise LemError(f"no alphabet {alphabet!r}; there are {', '.join(ALPHABETS)}")
    written = {phone.arpabet: getattr(phone, alphabet) for phone in PHONES}
    written[PAUSE] = PAUSE if alphabet == "arpabet" else ""
    return [written[phone] for phone in phones]


def symbols_of(alphabet: str) -> tuple[str, ...]:
    """All symbols of an alphabet of ALPHABETS, that of a pause first."""
    return tuple(spelt([PAUSE, *(phone.arpabet for phone in PHONES)], alphabet))


def nearest(symbol: str, alphabet: str) -> str | None:
    """The ARPABET phone that a symbol of an alphabet of READ is, or is most like; PAUSE for a pause; None where it is neither.

    Marks of stress and length are left out where the symbol is not known with them; of a symbol of several letters that is
    still not known the longest beginning counts.
    """
    known = _READ[alphabet]
    if symbol in _SILENT:
        return PAUSE
    for text in (symbol, symbol.translate(_MARKS)):
        if text in known:
            return known[text]
    if alphabet == "arpabet":  # its names are whole words
        return known.get(symbol.upper().translate(_MARKS))
    plain = symbol if alphabet == "sampa" else symbol.translate(_MARKS)
    return next((known[plain[:n]] for n in range(len(plain), 0, -1) if plain[:n] in known), None)


def read(text: str, alphabet: str) -> list[str]:
    """The ARPABET phones of a text without spaces between its symbols, the longest one first; what is none is left out.

    >>> read("kəmpˈjuːɾəl", "ipa")
    ['K', 'AH', 'M', 'P', 'Y', 'UW', 'D', 'AH', 'L']
    """
    known, found, at = _READ[alphabet], [], 0
    longest = max(map(len, known))
    while at < len(text):
        length = next((n for n in range(longest, 0, -1) if text[at : at + n] in known), 0)
        if length:
            found.append(known[text[at : at + length]])
        at += length or 1
    return found


def alphabet_of(symbols: Iterable[str]) -> str:
    """Which alphabet of READ a sequence is written in: the first that has most of its different symbols as they stand, and of those
    the one in which most of them can be read at all. (By its first letter much can be read as SAMPA: one slip in ARPABET must
    not make that of the whole.)"""
    different = sorted({symbol for symbol in symbols if symbol not in _SILENT})

    def knows(name: str) -> tuple[int, int, int]:
        read = sum(nearest(symbol, name) is not None for symbol in different)
        return sum(stands_in(symbol, name) for symbol in different), read, -READ.index(name)

    return max(READ, key=knows)


def stands_in(symbol: str, alphabet: str) -> bool:
    """Whether a symbol is one of an alphabet of READ, marks of stress and length aside; the beginning of a word is not."""
    texts = (symbol, symbol.translate(_MARKS), symbol.translate(_MARKS).upper() if alphabet == "arpabet" else symbol)
    return any(text in _READ[alphabet] for text in texts)


def kind(symbol: str, alphabet: str) -> str | None:
    """The class (of CLASSES) of a symbol of an alphabet of READ; None where it is not known."""
    return KINDS.get(nearest(symbol, alphabet) or "")
