"""Which options were given: on the command line, in the environment, in a TOML file."""

import click


def given(context: click.Context) -> set[str]:
    """Options that stand on the command line or in the environment."""
    default = (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    return {name for name in context.params if context.get_parameter_source(name) not in default}


def spelt(context: click.Context, name: str) -> str:
    """The longest name of an option, without hyphens in front."""
    return next(max(p.opts, key=len).lstrip("-") for p in context.command.params if p.name == name)


def merged(context: click.Context, path: str, values: dict, given: set[str]) -> dict:
    """The options, those that were not given taken from a TOML file where it has them."""
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: not TOML ({error})") from error
    spoken = set(given)
    params = {max(p.opts, key=len).lstrip("-"): p for p in context.command.params if isinstance(p, click.Option)}
    for name, value in table.items():
        param = params.get(name)
        if param is None or param.name not in values:
            raise click.UsageError(f"{path}: no option {name!r}; names are those of the command line, as in save-every")
        if param.name in given or {"steps": "flops", "flops": "steps"}.get(param.name) in spoken:
            continue
        if name == "set" and isinstance(value, dict):
            import json

            value = [f"{k}={json.dumps(v)}" for k, v in value.items()]
        if name == "card" and isinstance(value, dict):
            value = [f"{k}={v}" for k, v in value.items()]
        if param.multiple and not isinstance(value, list):
            value = [value]
        value = [str(v) for v in value] if param.multiple else value if param.is_flag else str(value)
        try:
            values[param.name] = param.type_cast_value(context, value)
        except click.BadParameter as error:
            raise click.UsageError(f"{path}: {name}: {error.format_message()}") from error
        given.add(param.name)
    return values
