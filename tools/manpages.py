"""Write the OPTIONS of the man pages from the commands themselves.

    python tools/manpages.py            rewrite the block between the two markers in every man/man1/lem-*.1
    python tools/manpages.py --check    change nothing; exit with 1 if a page is stale or missing

All else in a page is written by hand. Shell completion is made the same way: see completions.py.
"""

import difflib
import importlib
import pkgutil
import re
import sys
import textwrap
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the commands of this checkout, whatever is installed

BEGIN = r".\" begin generated options"
END = r".\" end generated options"
MANY = 4  # choices that are listed in the text, not in the option's head
GENERAL = ("--quiet", "--verbose", "--debug", "--version", "--help")  # every command has these; they come last


def commands() -> dict[str, click.Command]:
    """{name: command} of all modules in lemtools.cli that define a command `cli`."""
    import lemtools.cli as package

    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    found = [m.cli for m in modules if isinstance(getattr(m, "cli", None), click.Command)]
    return {command.name: command for command in sorted(found, key=lambda c: c.name)}


def options(command: click.Command) -> list[click.Option]:
    """The options of a command as --help lists them, the general ones moved to the end."""
    context = click.Context(command, info_name=command.name, **command.context_settings)
    listed = [p for p in command.get_params(context) if isinstance(p, click.Option) and not p.hidden]
    own = [p for p in listed if p.opts[-1] not in GENERAL]
    return own + sorted((p for p in listed if p.opts[-1] in GENERAL), key=lambda p: GENERAL.index(p.opts[-1]))


def choices(option: click.Option) -> list[str]:
    """The words an option takes, where it takes no others."""
    return list(option.type.choices) if isinstance(option.type, click.Choice) else []


def sentences(option: click.Option) -> list[str]:
    """What there is to say of an option, in sentences."""
    text, default = re.sub(r"\s+", " ", option.help or "").strip(), None
    if match := re.search(r"\s*\[default: (.+?)\]\s*", text):
        text, default = text.replace(match[0], " ").strip(), match[1]
    elif option.show_default and not option.is_flag and option.default is not None:
        default = str(option.default)
    out = re.split(r"(?<=[^.][.!?]) (?=[A-Z])", text)
    if len(choices(option)) >= MANY:
        out.append(f"One of {', '.join(choices(option))}.")
    low, high = (getattr(option.type, end, None) for end in ("min", "max"))
    if low is not None:
        out.append(f"{'More than' if option.type.min_open else 'At least'} {low:g}.")
    if high is not None:
        out.append(f"{'Less than' if option.type.max_open else 'At most'} {high:g}.")
    if rows := getattr(option, "rows", ()):
        out.append(f"For {option.table.among(rows)}.")
    if option.multiple:
        out.append("May be given more than once.")
    if default is not None:
        out.append(f"Default: {default}.")
    if option.envvar:
        names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        out.append(f"Environment: {', '.join(names)}.")
    return out


def roff(text: str) -> str:
    """Text as it stands, safe in a text line or an argument of a macro: hyphens and quotes stay ASCII."""
    for plain, escaped in (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("`", r"\(ga"), ("^", r"\(ha"), ("~", r"\(ti")):
        text = text.replace(plain, escaped)
    return text


def tag(option: click.Option) -> str:
    """The .It line of an option: every spelling, then its argument."""
    names = " , ".join(f"Fl {roff(name[1:])}" for name in sorted([*option.opts, *option.secondary_opts], key=len))
    if option.is_flag:
        return f".It {names}"
    words = choices(option)
    if 0 < len(words) < MANY:
        return f".It {names} Cm {' | '.join(map(roff, words))}"
    return f".It {names} Ar {roff(option.metavar or option.opts[-1].lstrip('-').upper())}"


def block(command: click.Command) -> str:
    """The generated part of a command's page, markers included."""
    lines = [
        BEGIN,
        f'.\\" by tools/manpages.py from {command.name} \\-\\-help; do not edit'.replace("\\-", "-"),
        ".Bl -tag -width Ds",
    ]
    for option in options(command):
        lines.append(tag(option))
        for sentence in sentences(option):
            for line in textwrap.wrap(sentence, 78, break_long_words=False, break_on_hyphens=False):
                line = roff(line)
                lines.append(r"\&" + line if line[0] in ".'" else line)
    return "\n".join([*lines, ".El", END])


def fill(page: str, command: click.Command) -> str:
    """The page with its generated block renewed. ValueError where the markers are not there, once and in order."""
    begin, end = page.find(BEGIN), page.find(END)
    if not 0 <= begin < end or page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{command.name}.1: the two markers of the generated options are missing or out of order")
    return page[:begin] + block(command) + page[end + len(END) :]


def pages() -> dict[Path, str]:
    """{path: wanted text} of the page of every command. FileNotFoundError for a command without one."""
    out = {}
    for name, command in commands().items():
        path = ROOT / "man" / "man1" / f"{name}.1"
        out[path] = fill(path.read_text("utf-8"), command)
    return out


def renew(wanted: dict[Path, str], check: bool) -> int:
    """Write what differs from the files; or, to check, show it and return 1."""
    stale = 0
    for path, text in wanted.items():
        have = path.read_text("utf-8") if path.exists() else ""
        if have == text:
            continue
        stale = 1
        name = str(path.relative_to(ROOT))
        if check:
            sys.stdout.writelines(difflib.unified_diff(have.splitlines(True), text.splitlines(True), name, "wanted"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(name)
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(renew(pages(), "--check" in sys.argv[1:]))
