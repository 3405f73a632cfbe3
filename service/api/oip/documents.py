"""What the OpenAPI document says of `/v2`: an inference request in JSON, and failures as the protocol has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.api.oip.request import ENCODED_NAME
from service.api.schemas import REQUEST_ID, problem_responses
from service.contract import OUTPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import APIRouter

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_NUMBER, _STRING = {"type": "integer"}, {"type": "string"}


def add(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Any],
    *,
    name: str,
    summary: str,
    responses: dict[int | str, dict[str, Any]],
    method: str = "GET",
) -> None:
    """Add a route whose answers are the protocol's own, which no model of ours describes."""
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        name=name,
        operation_id=name,
        summary=summary,
        response_model=None,
        responses=responses,
    )


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for `statuses`: those of the rest of the service, in the protocol's form."""
    return {status: _failure(problem) for status, problem in problem_responses(*statuses).items()}


def _failure(problem: dict[str, Any]) -> dict[str, Any]:
    detail = problem["content"]["application/problem+json"]["example"]["detail"]
    return problem | {"content": {"application/json": {"schema": _ERROR, "example": {"error": detail}}}}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Return the parameters of `path`, for a route whose handler does not take them one by one."""
    return [
        {"name": name, "in": "path", "required": True, "schema": _STRING}
        for name in ("name", "version")
        if f"{{{name}}}" in path
    ]


def inference_request() -> dict[str, Any]:
    """Return the simplest body, one file in JSON: that a shape and its data agree, no schema can say.

    What else there is in it is ignored, as it is of the protocol's other extensions.
    """
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": ENCODED_NAME},
            "datatype": {"const": "BYTES"},
            "shape": {"const": [1]},
            "data": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "format": "byte"}},
        },
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _STRING,
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
            "outputs": {
                "type": "array",
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"const": OUTPUT_NAME},
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "classification": {"type": "integer", "minimum": 1, "maximum": 1000},
                                "binary_data": {"type": "boolean"},
                            },
                            "additionalProperties": {"type": ["boolean", "number", "string", "null"]},
                        },
                    },
                },
            },
        },
    }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def inference_response() -> dict[str, Any]:
    """Return what a successful answer is, in JSON."""
    output = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": OUTPUT_NAME},
            "datatype": {"enum": ["FP32", "BYTES"]},
            "shape": {"type": "array", "items": _NUMBER},
            "data": {"type": "array"},
            "parameters": {"type": "object", "properties": {"binary_data_size": _NUMBER}},
        },
    }
    schema = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": _STRING,
            "model_version": _STRING,
            "id": _STRING,
            "outputs": {"type": "array", "items": output},
        },
    }
    content = {
        "application/json": {"schema": schema},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    return {"description": "Probabilities, or the classes asked for.", "content": content, "headers": REQUEST_ID}
