"""The published contract as something answers can be held against. It knows nothing of this package."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

CONTRACT_FILE = Path(__file__).with_name("openapi.yaml")
_URI = "urn:contract"
_CALLBACK = ("callbacks", "ended", "{$request.body#/callBackUrl}", "post")


@cache
def load_contract() -> dict[str, Any]:
    """Return the document."""
    # The loader in C, where the library was built with it, is as safe and ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(CONTRACT_FILE.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 -- a safe one
    assert isinstance(document, dict)
    return document


def answer_faults(method: str, path: str, status: int, content_type: str, body: bytes) -> list[str]:
    """Return what is wrong with an answer of the service; an empty list means that it fits."""
    responses = load_contract()["paths"][path][method.lower()]["responses"]
    where = ["paths", path, method.lower(), "responses", str(status) if str(status) in responses else "default"]
    response = _follow(where)
    if content_type not in response["content"]:
        return [f"{method} {path} answers {status} with {content_type!r}"]
    if content_type == "text/html":
        return []
    return _faults(response["content"][content_type]["schema"], body)


def callback_faults(headers: dict[str, str], body: bytes) -> list[str]:
    """Return what is wrong with a callback; an empty list means that it fits."""
    operation = load_contract()["paths"]["/api/v1/suno/cover/generate"]["post"]
    for key in _CALLBACK:
        operation = operation[key]
    faults = _faults(operation["requestBody"]["content"]["application/json"]["schema"], body)
    for parameter in operation["parameters"]:
        if parameter["name"] in headers:
            faults += _faults(parameter["schema"], json.dumps(headers[parameter["name"]]).encode())
    return faults


def _follow(where: list[str]) -> dict[str, Any]:
    node: Any = load_contract()
    for key in where:
        node = node[key]
    if "$ref" in node:
        return _follow(node["$ref"].removeprefix("#/").split("/"))
    assert isinstance(node, dict)
    return node


def _faults(schema: dict[str, Any], body: bytes) -> list[str]:
    from openapi_schema_validator import OAS31Validator  # slow, and few processes come here

    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        return [f"not JSON: {error}"]
    # A reference in the document is relative to the document: name it, so that it can be found.
    anchored = {"$ref": _URI + schema["$ref"]} if "$ref" in schema else schema
    validator = OAS31Validator(anchored, registry=_registry())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


@cache
def _registry() -> Registry[Any]:
    empty: Registry[Any] = Registry()
    registry: Registry[Any] = empty.with_resource(_URI, DRAFT202012.create_resource(load_contract()))
    return registry
