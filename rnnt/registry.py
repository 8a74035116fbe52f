"""Components of one kind by name, such as the encoders: to choose one of them is to name it.

A component is a configuration class, which is free of torch so that --help is quick, and the place of what it
configures, which is imported when it is made. To add one, from within the package or from outside:

    ENCODERS.add(MyConfig, "my_package.my_encoder:MyEncoder")

where `MyConfig` is a frozen dataclass of options with the class attribute `name: ClassVar[str] = "mine"`.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any


def find(place: Any) -> Any:
    """What a place `module:name` holds, imported now; what is no text is the object itself."""
    if isinstance(place, str):
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)
    return place


class Registry:
    """The components of one kind.

    Args:
        kind: what they are, for messages: `encoder`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._configs: dict[str, Any] = {}
        self._places: dict[str, Any] = {}

    def add(self, config: type, implementation: Any) -> None:
        """Add a component; `implementation` is `module:name`, or the object itself.

        Raises:
            ValueError: the name is taken by another component.
        """
        name: str = vars(config)["name"]
        if self._configs.get(name, config) is not config:
            raise ValueError(f"there is already a {self.kind} called {name!r}")
        self._configs[name], self._places[name] = config, implementation

    def __iter__(self) -> Iterator[str]:
        return iter(self._configs)

    def config(self, name: str) -> Any:
        """The configuration class of a name."""
        return self._configs[name]

    def configs(self) -> list[Any]:
        """The configuration classes of all components."""
        return list(self._configs.values())

    def implementation(self, config: Any) -> Any:
        """What the configuration object `config` configures, imported now."""
        return find(self._places[config.name])
