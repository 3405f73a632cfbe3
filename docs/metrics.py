"""Writes the table of metrics in docs/metrics.md from the code: `python docs/metrics.py`."""

from __future__ import annotations

from pathlib import Path

from service.families import FAMILIES, Family

PAGE = Path(__file__).with_name("metrics.md")
BEGIN, END = "<!-- metrics: written by docs/metrics.py -->\n", "<!-- end of metrics -->\n"


def row(family: Family) -> str:
    """Return one metric's line of the table: name, kind, labels with their values, what it says."""
    values = [sorted({labels[at] for labels in family.series if labels}) for at in range(len(family.labels))]
    labels = "; ".join(
        f"`{name}`" + (f": {', '.join(known)}" if known else "")
        for name, known in zip(family.labels, values, strict=True)
    )
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n"


def table() -> str:
    """Return the whole table, in the order in which `/metrics` shows them."""
    return "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "".join(map(row, FAMILIES))


def page(text: str) -> str:
    """Return `text` with its table of metrics replaced by today's."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
