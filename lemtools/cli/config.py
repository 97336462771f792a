"""Options that a command takes from elsewhere than its line: from a TOML file, or from a preset."""

import json

import click


def read(path: str) -> dict:
    """The table of a TOML file."""
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.loads(file.read().decode("utf-8-sig"))  # as Windows writes it
    except OSError as error:
        error.filename = path
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: not TOML ({error})") from error


def merged(context: click.Context, where: str, table: dict, values: dict, given: set[str]) -> dict:
    """The options (by keyword), those that were not given taken from a table where it has them, and noted as given.

    where: what the table is called in an error. Its keys are long names without hyphens in front; 'set' and 'card' may
    be tables themselves.
    """
    spoken, values = set(given), dict(values)
    params = {max(p.opts, key=len).lstrip("-"): p for p in context.command.params if isinstance(p, click.Option)}
    for name, value in table.items():
        param = params.get(name)
        if param is None or param.name not in values:
            raise click.UsageError(
                f"{where}: no option {name!r}; names are those of the command line, as in save-every"
            )
        if param.name in spoken or {"steps": "flops", "flops": "steps"}.get(param.name) in spoken:
            continue
        if isinstance(value, dict) and name in ("set", "card"):
            value = [f"{k}={json.dumps(v) if name == 'set' else v}" for k, v in value.items()]
        if param.multiple and not isinstance(value, (list, tuple)):
            value = [value]
        value = [str(v) for v in value] if param.multiple else value if param.is_flag else str(value)
        try:
            values[param.name] = param.type_cast_value(context, value)
        except click.BadParameter as error:
            raise click.UsageError(f"{where}: {name}: {error.format_message()}") from error
        given.add(param.name)
    return values
