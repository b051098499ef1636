"""A real server is held against its own OpenAPI document: requests that keep to it and requests that do not, made by
schemathesis, always the same ones."""

import tempfile
from typing import Any

import pytest
import schemathesis
from schemathesis import checks
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    NotAServerErrorConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)

from app.main import create_app
from app.protocol import raw
from app.settings import Settings
from tests.conftest import COMMITTED
from tests.openapi import document
from tests.serving import Server

EXAMPLES = 15
"""Of each operation."""
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.negative_data_rejection,
]
SERVER_SAYS_NO = ["501", "503", "504"]
"""What is not offered, not ready and too late."""


def described() -> Any:
    """The document, with operations to make requests of."""
    project = ProjectConfig(
        generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none"),
        checks=ChecksConfig(
            not_a_server_error=NotAServerErrorConfig(expected_statuses=["2xx", "3xx", "4xx", *SERVER_SAYS_NO])
        ),
    )
    config = SchemathesisConfig(seed=1, projects=ProjectsConfig(default=project))
    with tempfile.TemporaryDirectory() as state:
        served = document(create_app(Settings.load(models=COMMITTED, state=state)))
    return schemathesis.openapi.from_dict(served, config=config)


schemathesis.serializer.alias([*raw.MEDIA_TYPES], "application/octet-stream")
SCHEMA = described()
IMAGE = [[[0.0] * 8] * 8]
_TENSOR = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32"}
GOOD = {
    "/predict": {"inputs": IMAGE, "parameters": {"top_k": 2}},
    "/v2/models/{model}/infer": {"id": "7", "inputs": [_TENSOR | {"data": IMAGE}]},
    "/v2/models/{model}/versions/{version}/infer": {"inputs": [_TENSOR | {"data": IMAGE}]},
}


@SCHEMA.parametrize()
def test_the_server_is_what_its_document_says(case: schemathesis.Case, digits_server: Server) -> None:
    case.call_and_validate(base_url=digits_server.url, checks=CHECKS)


@pytest.mark.parametrize("path", GOOD)
def test_an_answer_of_a_model_is_what_the_document_says(path: str, digits_server: Server) -> None:
    """No body that is made from the document fits a model."""
    case = SCHEMA[path]["POST"].Case(
        path_parameters={"model": "digits", "version": "1"}, body=GOOD[path], media_type="application/json"
    )
    assert case.call_and_validate(base_url=digits_server.url, checks=CHECKS[:-1]).status_code == 200


@SCHEMA.include(method="GET", path_regex="{model}").parametrize()
def test_a_model_is_described_as_the_document_says(case: schemathesis.Case, digits_server: Server) -> None:
    case.path_parameters = {"model": "digits", "version": "1"} if case.path_parameters else case.path_parameters
    case.call_and_validate(base_url=digits_server.url, checks=CHECKS[:5])
