"""Answers that are frozen values: as JSON, and as schemas of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, RootModel

from utils.service.contracts.document import PageOf, to_json


def schema_of(kind: Any) -> type[BaseModel]:
    """What a route's ``responses`` say of one value of this kind."""
    return RootModel[kind]


def page_schema_of(kind: Any) -> type[BaseModel]:
    """What a route's ``responses`` say of a page of values of this kind."""
    return PageOf[kind]


def answer(
    kind: Any,
    value: Any,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A value of this kind, as JSON."""
    return Response(
        to_json(kind, value), status, mimetype="application/json", headers=dict(headers or {})
    )


def answer_page(kind: Any, items: Any, next_cursor: str | None = None) -> Response:
    """Some of a list; ``next_cursor`` is None at its end."""
    return answer(PageOf[kind], PageOf[kind](items=list(items), next_cursor=next_cursor))


def no_content() -> Response:
    """A success that has nothing to say."""
    return Response(status=HTTPStatus.NO_CONTENT)
