"""Writes the table of settings in docs/configuration.md from the settings: `python docs/configuration.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from service.settings import Settings

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- settings: written by docs/configuration.py -->\n", "<!-- end of settings -->\n"


def row(name: str, field: FieldInfo) -> str:
    """Return one setting's line of the table: flag, environment variable, default, what it means."""
    flag = f"--{name.replace('_', '-')}"
    if get_origin(field.annotation) is Literal:
        flag += " " + "\\|".join(get_args(field.annotation))  # a bare | would end the cell
    elif field.annotation is bool:
        flag += f"`, `--no-{name.replace('_', '-')}"
    default = f"`{shown(field.default)}`" if field.default not in (None, ()) else ""
    return f"| `{flag}` | `RESNET_{name.upper()}` | {default} | {field.description} |\n"


def shown(default: object) -> str:
    """Return a default as a person would type it."""
    if isinstance(default, tuple):
        return ",".join(map(shown, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def table() -> str:
    """Return the whole table, in the order in which `Settings` lists its fields."""
    head = "| flag | environment | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(row(name, field) for name, field in Settings.model_fields.items())


def page(text: str) -> str:
    """Return `text` with its table of settings replaced by today's."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
