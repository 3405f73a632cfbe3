"""Which models are served now, and what they answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from service.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.repository import Wanted


class Versioned(Protocol):
    """What a registry asks of what it lists: a model, or in a supervisor the hall that answers for it."""

    @property
    def version(self) -> int:
        """Of the artefact in its repository."""


M = TypeVar("M", bound=Versioned)


class Registry(Generic[M]):
    """The models that answer, in the order in which they are wanted: the first is the default.

    A request names a model and a version, or only one of them, or nothing: the first that fits answers. Everything
    here runs on one event loop, and each change is whole when the loop goes on.
    """

    def __init__(self) -> None:
        self._served: dict[Wanted, M] = {}
        self._answers: dict[tuple[str | None, str | None], M] = {}  # one look-up for every way to ask

    @property
    def default(self) -> str | None:
        """The name of the model that answers whoever names none."""
        return next((wanted.name for wanted in self._served), None)

    @property
    def wanted(self) -> list[Wanted]:
        """All that something serves as, the default first."""
        return list(self._served)

    @property
    def served(self) -> dict[Wanted, M]:
        """What serves as what, the default first."""
        return dict(self._served)

    @property
    def models(self) -> list[M]:
        """Every model, once, the default first."""
        return list(dict.fromkeys(self._served.values()))

    def find(self, name: str | None = None, version: str | None = None) -> M:
        """Return the model that answers a request for `name` in `version`; None where any will do.

        Raises:
            NotFound: there is none; says which there are.
        """
        model = self._answers.get((name, version))
        if model is None:
            asked = f"{name or self.default}:{version}" if version else name
            listed = ", ".join(f"{name}:{version}" for name, version in self._answers if name and version)
            raise NotFound(f"{asked or 'nothing'} is not served here, only {listed or 'nothing'}")
        return model

    def versions(self, name: str) -> list[int]:
        """Return the versions in which `name` is served, in ascending order."""
        return sorted({model.version for wanted, model in self._served.items() if wanted.name == name})

    def get(self, wanted: Wanted) -> M | None:
        """Return what serves as `wanted`, if anything does."""
        return self._served.get(wanted)

    def put(self, wanted: Wanted, model: M) -> None:
        """From now on `model` serves as `wanted`, in the place of what did so before."""
        self._served[wanted] = model
        self._index()

    def remove(self, name: str) -> None:
        """Serve nothing by the name of `name` any more."""
        for wanted in [wanted for wanted in self._served if wanted.name == name]:
            del self._served[wanted]
        self._index()

    def replace(self, served: Mapping[Wanted, M]) -> None:
        """From now on serve that, and nothing else."""
        self._served = dict(served)
        self._index()

    def _index(self) -> None:
        answers: dict[tuple[str | None, str | None], M] = {}
        for wanted, model in self._served.items():
            version = str(model.version)
            asked: list[tuple[str | None, str | None]] = [(wanted.name, version), (wanted.name, None)]
            if wanted.name == self.default:
                asked += [(None, version), (None, None)]
            for each in asked:
                answers.setdefault(each, model)
        self._answers = answers
