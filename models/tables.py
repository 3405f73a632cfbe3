"""Measurements -> text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from models.complexity import Compared, LayerCost, totals
from models.responses import LayerResponse, ranked


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column flush left, the others flush right, a rule under the header."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    return "\n".join(lines + [_line(row, widths) for row in rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


def complexity_table(costs: Sequence[LayerCost]) -> str:
    """Return one line per layer, and the totals."""
    rows = [
        (c.name, c.kind, "x".join(map(str, c.output_shape)), f"{c.parameters:,}", f"{c.multiply_adds:,}") for c in costs
    ]
    total = totals(costs)
    rows.append(("total", "", "", f"{total.parameters:,}", f"{total.multiply_adds:,}"))
    return align(("layer", "kind", "output", "parameters", "multiply-adds"), rows)


def comparison_table(compared: Sequence[Compared]) -> str:
    """Return one line per network: counted here, published, and the share of the first one's multiply-adds."""
    reference = compared[0].totals.multiply_adds
    rows = [
        (
            c.architecture,
            f"{c.totals.parameters:,}",
            f"{c.totals.multiply_adds / 1e9:.2f}",
            f"{c.published:.1f}",
            f"{c.totals.multiply_adds / reference:.1%}",
        )
        for c in compared
    ]
    share = f"of {compared[0].architecture}"
    return align(("network", "parameters", "10⁹ multiply-adds", "published", share), rows)


def responses_table(measured: Sequence[LayerResponse]) -> str:
    """Return one line per layer in order, with its rank by standard deviation; projections have none."""
    ranks = {response.name: rank for rank, response in enumerate(ranked(measured), start=1)}
    rows = [(r.name, f"{r.std:.4f}", str(ranks.get(r.name, "projection"))) for r in measured]
    return align(("layer", "std", "rank"), rows)
