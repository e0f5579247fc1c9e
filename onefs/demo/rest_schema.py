"""Owns the description of the endpoints that clients ask for first: OpenAPI, as small as they can use it."""

from collections.abc import Iterable
from typing import Any

from onefs.demo.resources import Resource
from onefs.demo.serialise import Json

SCHEMA_TYPE = "application/vnd.oai.openapi+json"
FILE_FIELDS = {"json": {"nullable": True}}


def schema(resources: Iterable[Resource[Any]]) -> Json:
    """Paths, methods and arguments of all endpoints."""
    paths: Json = {"/auth-token": {"post": {"description": "Log in"}}}
    for resource in resources:
        names = sorted({*resource.filters, "limit", "offset"})
        paths[f"/{resource.name}"] = {
            "get": {
                "description": f"All that match: {resource.model}",
                "parameters": [_parameter(name, "query") for name in names],
            }
        }
        key = "id" if resource.by_id else "name"
        parameters = [{**_parameter(key, "path"), "required": True}]
        row: Json = {"get": {"description": f"One {resource.model}", "parameters": parameters}}
        if resource.name == "files":
            body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/PatchedFileRecord"}}}}
            row["patch"] = {"description": "Change it", "parameters": parameters, "requestBody": body}
        paths[f"/{resource.name}/{{{key}}}"] = row
    return {
        "openapi": "3.0.3",
        "info": {"title": "onefs demo", "version": "3.6.1"},
        "paths": paths,
        "components": {"schemas": {"PatchedFileRecord": {"type": "object", "properties": FILE_FIELDS}}},
    }


def _parameter(name: str, place: str) -> Json:
    return {"name": name, "in": place, "schema": {"type": "string"}}
