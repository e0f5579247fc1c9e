"""The description of a database's interface (OpenAPI): its endpoints, their actions and arguments."""

from collections.abc import Iterator, Mapping
from typing import Any

MEDIA_TYPE = "application/vnd.oai.openapi+json"
EXPIRY_S = 7 * 86400.0
LIST, READ = "list", "read"
ACTIONS = {"get": LIST, "post": "create", "put": "update", "patch": "partial_update", "delete": "delete"}
NO_ENDPOINTS = ("", "auth-token", "api")


class Schema:
    """The endpoints of a database, by their names (`sessions`). An unknown endpoint or action has nothing."""

    def __init__(self, content: Any) -> None:
        """`content` is the description, parsed."""
        self._paths = _mapping(content, "paths")
        self._bodies = _mapping(_mapping(content, "components"), "schemas")

    @property
    def endpoints(self) -> list[str]:
        """The names of all endpoints, sorted."""
        return sorted({path.split("/")[1] for path in self._paths if "/" in path} - {*NO_ENDPOINTS})

    def actions(self, endpoint: str) -> list[str]:
        """What can be done there, sorted: `list`, `read` and the actions that change records."""
        return sorted({action for action, _, _ in self._operations(endpoint)})

    def fields(self, endpoint: str, action: str) -> list[dict[str, Any]]:
        """The arguments of an action, each with its `name`, in the order of the description."""
        operation = self._operation(endpoint, action)[1]
        content = _mapping(_mapping(operation, "requestBody"), "content")
        reference = _mapping(_mapping(content, "application/json"), "schema").get("$ref", "")
        properties = _mapping(_mapping(self._bodies, str(reference).rpartition("/")[2]), "properties")
        listed = operation.get("parameters")
        parameters = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [*parameters, *({"name": name, "schema": schema} for name, schema in properties.items())]

    def field_names(self, endpoint: str, action: str) -> list[str]:
        """The names of an action's arguments."""
        return [str(field.get("name", "")) for field in self.fields(endpoint, action)]

    def url(self, endpoint: str, action: str) -> str:
        """The path of an action, such as `/sessions/{id}`."""
        return self._operation(endpoint, action)[0]

    def description(self, endpoint: str, action: str) -> str:
        """What the database says of an action, "" if nothing."""
        return str(self._operation(endpoint, action)[1].get("description", ""))

    def _operation(self, endpoint: str, action: str) -> tuple[str, Mapping[str, Any]]:
        found = (each[1:] for each in self._operations(endpoint) if each[0] == action)
        return next(found, ("", {}))

    def _operations(self, endpoint: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Action, path and description of each thing that can be done at an endpoint."""
        for path in self._paths:
            if path == f"/{endpoint}" or path.startswith(f"/{endpoint}/"):
                for method, operation in _mapping(self._paths, path).items():
                    if method in ACTIONS and isinstance(operation, dict):
                        action = READ if method == "get" and "{" in path else ACTIONS[method]
                        yield action, path, operation


def _mapping(content: Any, key: str) -> Mapping[str, Any]:
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, dict) else {}
