"""A scrape, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]


class Scrape:
    """The samples of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self.samples: dict[Series, float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float:
        """Return one sample's value; a series that is not there is a KeyError."""
        return self.samples[name, tuple(sorted(labels.items()))]

    def sum(self, name: str) -> float:
        """Return the sum over all series of `name`."""
        return sum(value for (known, _), value in self.samples.items() if known == name)
