"""Write the shell completions from the commands: completion/{bash,zsh,fish}/, one file a command.

    python tools/completions.py            write them
    python tools/completions.py --check    change nothing; exit with 1 if a file is stale or missing

The files hold the words themselves, so that a press of the tab key starts no interpreter.
"""

import sys
from pathlib import Path

import click

from manpages import ROOT, choices, commands, options, renew, sentences


def words(option: click.Option) -> list[str]:
    """What to offer as the value of an option; a word that ends in : @ = or / wants more behind it."""
    source = getattr(option, "source", None)
    named = [form for name in getattr(getattr(source, "of", None), "shown", ()) for form in forms(name)]
    own = list(getattr(source, "words", ()))
    return choices(option) or [*named, *own] or list(getattr(option.type, "words", ()))


def forms(name: str) -> list[str]:
    """What to offer for a name as lists show it: 'patch:S' wants a size behind it, 'span[:S]' may have one."""
    plain = name.partition("[")[0]
    marked = name.replace("[", "").replace("]", "")
    mark = next((m for m in ":@=" if m in marked), None)
    sized = [marked[: marked.index(mark) + 1]] if mark else []
    return ([plain] if "[" in name or not mark else []) + sized


def argument_words(command: click.Command) -> list[str]:
    """What to offer where no option stands: the choices of a command's argument; none where it takes files."""
    return [word for p in command.params if isinstance(p, click.Argument) for word in choices(p)]


def names_file(option: click.Option) -> bool:
    return getattr(getattr(option, "source", None), "file", False) and not words(option)


def brief(option: click.Option) -> str:
    """The first sentence about an option, without its full stop and its list of words."""
    return sentences(option)[0].rstrip(".").partition(": ")[0]


def bash(command: click.Command) -> str:
    valued = [o for o in options(command) if not o.is_flag]
    cases = [f"        {'|'.join(o.opts)}) words='{' '.join(words(o))}' ;;" for o in valued if words(o)]
    for takes, action in ((True, "files=1"), (False, "return")):
        spellings = [name for o in valued if names_file(o) == takes and not words(o) for name in o.opts]
        cases += [f"        {'|'.join(spellings)}) {action} ;;"] if spellings else []
    flags = [name for option in options(command) for name in option.opts]
    function = "_" + command.name.replace("-", "_")
    other = f"words='{' '.join(argument_words(command))}'" if argument_words(command) else "files=1"
    return "\n".join(
        [
            f"# bash completion for {command.name}; made by tools/completions.py",
            f"{function}() {{",
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= files= IFS=$' \\t\\n'",
            "    COMPREPLY=()",
            "    # readline parts --option=value into three words",
            "    if [[ $cur == = ]]; then",
            "        cur=",
            "    elif [[ $prev == = ]]; then",
            "        prev=${COMP_WORDS[COMP_CWORD-2]}",
            "    fi",
            "    case $prev in",
            *cases,
            f"        *) if [[ $cur == -* ]]; then words='{' '.join(flags)}'; else {other}; fi ;;",
            "    esac",
            "    if [[ $files ]]; then",
            "        compopt -o filenames",
            "        IFS=$'\\n'",
            '        COMPREPLY=($(compgen -f -- "$cur"))',
            "    else",
            '        COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            "        # such a word wants more behind it",
            "        [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY == *[:@=] ]] && compopt -o nospace",
            "    fi",
            "}",
            f"complete -F {function} {command.name}",
            "",
        ]
    )


def zsh(command: click.Command) -> str:
    def quote(text: str) -> str:
        for mark in "\\[]:":
            text = text.replace(mark, "\\" + mark)
        return text.replace("'", "'\\''")

    lines = []
    for option in options(command):
        value = ""
        if not option.is_flag:
            offered = " ".join(word.replace(":", "\\:") for word in words(option))
            action = "_files" if names_file(option) else f"({offered})" if offered else " "
            if offered and all(word[-1] in ":@=" for word in words(option)):
                action = f'{{compadd -S "" - {offered}}}'
            value = f":{quote((option.metavar or option.name).lower())}:{action}"
        for name in option.opts:
            # a long option takes its value as --opt value or --opt=value
            joined = "=" if value and name.startswith("--") else ""
            others = "*" if option.multiple else f"({' '.join(option.opts)})"
            lines.append(f"    '{others}{name}{joined}[{quote(brief(option))}]{value}' \\")
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    offered = f"({' '.join(argument_words(command))})" if argument_words(command) else "_files"
    places = [f"{i + 1}:{a.name}:{offered}" for i, a in enumerate(arguments)]
    places = ["*:file:_files"] if arguments[0].nargs < 0 else places
    head = f"#compdef {command.name}\n# made by tools/completions.py\n\n_arguments -s -S \\"
    return "\n".join([head, *lines, " \\\n".join(f"    '{place}'" for place in places), ""])


def fish(command: click.Command) -> str:
    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [f"# fish completion for {command.name}; made by tools/completions.py"]
    if argument_words(command):
        lines.append(f"complete -c {command.name} -f -a {quote(' '.join(argument_words(command)))}")
    for option in options(command):
        parts = [f"complete -c {command.name}"]
        parts += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.opts]
        if not option.is_flag:
            parts.append("-rF" if names_file(option) else "-x")
            if offered := words(option):
                parts.append(f"-a {quote(' '.join(offered))}")
        lines.append(" ".join([*parts, f"-d {quote(brief(option))}"]))
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """{path: wanted text} of all completion files."""
    out = {}
    for name, command in commands().items():
        out[ROOT / "completion" / "bash" / name] = bash(command)
        out[ROOT / "completion" / "zsh" / f"_{name}"] = zsh(command)
        out[ROOT / "completion" / "fish" / f"{name}.fish"] = fish(command)
    return out


if __name__ == "__main__":
    sys.exit(renew(files(), "--check" in sys.argv[1:]))
