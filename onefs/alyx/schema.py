"""The description of a database's interface: its endpoints, their actions and arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OPENAPI, CORE_API = "application/vnd.oai.openapi+json", "application/coreapi+json"
EXPIRY_S = 7 * 86400.0
LIST, READ = "list", "read"
ACTIONS = {"get": LIST, "post": "create", "put": "update", "patch": "partial_update", "delete": "delete"}
"""What the methods of HTTP are called; a `get` of one record is a `read`."""
NO_ENDPOINTS = ("", "auth-token", "api")


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done at a path such as `/sessions/{id}`. Each argument has a `name`."""

    url: str
    fields: tuple[dict[str, Any], ...]


class Schema:
    """The endpoints of a database, by their names (`sessions`). An unknown endpoint or action has nothing."""

    def __init__(self, content: Any) -> None:
        """`content` is the description, parsed: an OpenAPI document, or the Core API's, which older databases have."""
        read = _core_api if "_type" in _mapping(content) else _openapi
        self._endpoints: dict[str, dict[str, Action]] = {}
        for endpoint, name, action in read(_mapping(content)):
            if endpoint not in NO_ENDPOINTS:
                self._endpoints.setdefault(endpoint, {}).setdefault(name, action)

    @property
    def endpoints(self) -> list[str]:
        """The names of all endpoints, sorted."""
        return sorted(self._endpoints)

    def actions(self, endpoint: str) -> list[str]:
        """What can be done there, sorted: `list`, `read` and the actions that change records."""
        return sorted(self._endpoints.get(endpoint, {}))

    def fields(self, endpoint: str, action: str) -> list[dict[str, Any]]:
        """The arguments of an action, each with its `name`, in the order of the description."""
        return list(self._action(endpoint, action).fields)

    def field_names(self, endpoint: str, action: str) -> list[str]:
        """The names of an action's arguments."""
        return [str(field.get("name", "")) for field in self._action(endpoint, action).fields]

    def url(self, endpoint: str, action: str) -> str:
        """The path of an action, such as `/sessions/{id}`, "" for an unknown one."""
        return self._action(endpoint, action).url

    def _action(self, endpoint: str, action: str) -> Action:
        return self._endpoints.get(endpoint, {}).get(action, Action("", ()))


def _openapi(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Action]]:
    """The endpoint, name and description of each action in an OpenAPI document."""
    bodies = _mapping(_mapping(content.get("components")).get("schemas"))
    for path, methods in _mapping(content.get("paths")).items():
        for method, operation in _mapping(methods).items():
            if method in ACTIONS and isinstance(operation, dict):
                name = READ if method == "get" and "{" in path else ACTIONS[method]
                fields = (*_mappings(operation.get("parameters")), *_body_fields(operation, bodies))
                yield path.split("/")[1], name, Action(path, fields)


def _body_fields(operation: Mapping[str, Any], bodies: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content = _mapping(_mapping(operation.get("requestBody")).get("content"))
    schema = _mapping(_mapping(content.get("application/json")).get("schema"))
    body = _mapping(bodies.get(str(schema.get("$ref", "")).rpartition("/")[2]))
    for name, description in _mapping(body.get("properties")).items():
        yield {"name": name, "schema": description}


def _core_api(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Action]]:
    """The endpoint, name and description of each action in a document of the Core API."""
    for endpoint, actions in content.items():
        if not endpoint.startswith("_"):
            for name, link in _mapping(actions).items():
                if isinstance(link, dict):
                    yield endpoint, name, Action(str(link.get("url", "")), _mappings(link.get("fields")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()
