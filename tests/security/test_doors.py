"""No token, a wrong one, an expired one, a wrong role: no route of any service opens."""

from __future__ import annotations

import re

import httpx
import pytest

from services.monitor.app import create_app as create_monitor
from services.monitor.settings import MonitorSettings
from services.registry.app import create_app as create_registry
from services.registry.settings import RegistrySettings
from services.scheduler.app import create_app as create_scheduler
from services.scheduler.settings import SchedulerSettings
from services.serving.app import create_app as create_serving
from services.serving.settings import ServingSettings
from tests.security.permissions import HOLDERS, PERMISSIONS, PUBLIC_EVERYWHERE
from tests.security.platform import ROLES, SERVICES, filled, operations
from utils.service.auth import write_tokens

BAD_HEADERS = {
    "no token": None,
    "wrong token": "Bearer not-the-token",
    "scheme without a token": "Bearer",
    "wrong scheme": "Basic cmVhZGVyOnJlYWRlcg==",
    "token without a scheme": "{admin}",
    "token in other letters": "Bearer {swapped}",
    "part of a token": "Bearer {part}",
    "two tokens": "Bearer {admin}, Bearer {admin}",
    "bytes that are no text": b"Bearer \xff\xfe\x80",
    "long token": "Bearer " + "a" * 4000,
    "expired token": "Bearer {expired}",
}


PLACE = re.compile("<(?:[a-z]+:)?([a-z_]+)>")


def _as_documented(place):
    return f"{{{place[1]}}}"


@pytest.fixture(scope="module", params=SERVICES)
def service(request):
    return request.param


def bad_headers(platform, kind):
    value = BAD_HEADERS[kind]
    if value is None:
        return {}
    if isinstance(value, str):
        admin = platform.tokens["admin"]
        value = value.format(
            admin=admin, swapped=admin.swapcase(), part=admin[:-1], expired=platform.expired
        )
    return {"Authorization": value}


def test_the_list_of_permissions_is_the_document(service, platform):
    found = {f"{method} {path}" for method, path in operations(platform.document(service))}
    assert found == set(PERMISSIONS[service])


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_who_is_unknown_is_answered_401_everywhere(service, kind, platform, tried):
    headers = bad_headers(platform, kind)
    before = platform.state()
    walked = 0
    for route, needed in PERMISSIONS[service].items():
        method, path = route.split(" ")
        response = platform.send(service, method, filled(path), None, headers=headers)
        if needed == "public":
            assert response.status_code == 200, route
            continue
        assert response.status_code == 401, route
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["detail"].startswith("No valid token came"), route
        walked += 1
    assert platform.changes_since(before) == []
    tried("routes that stayed shut", f"{service}: {kind}", walked)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_own_routes_alone(service, role, platform, tried):
    before = platform.state()
    walked = 0
    for route, needed in PERMISSIONS[service].items():
        if needed == "public" or role in HOLDERS[needed]:
            continue
        method, path = route.split(" ")
        response = platform.send(service, method, filled(path), role)
        assert response.status_code == 403, route
        assert f"has the role {role}" in response.json()["detail"]
        walked += 1
    assert platform.changes_since(before) == []
    tried("routes that stayed shut", f"{service}: role {role}", walked)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_let_in_where_it_should_be(service, role, platform):
    """Otherwise the tests above would pass on a service that answers nobody."""
    for route, needed in PERMISSIONS[service].items():
        method, path = route.split(" ")
        if role in HOLDERS[needed] and method == "GET":
            response = platform.send(service, method, filled(path), role)
            assert response.status_code not in {401, 403}, route


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE", "DELETE", "QUERY"])
def test_another_method_is_no_way_round(service, method, platform, tried):
    listed = set(PERMISSIONS[service])
    walked = 0
    for path in {route.split(" ")[1] for route in listed}:
        if f"{method} {path}" in listed:
            continue
        response = platform.send(service, method, filled(path), None)
        is_public = "/health/" in path
        assert (
            is_public
            or response.status_code in {401, 404, 405, 501}
            or (method == "OPTIONS" and not response.content)
        ), (method, path, response.status_code)
        walked += 1
    tried("routes that stayed shut", f"{service}: method {method}", walked)


@pytest.mark.parametrize(
    "spelled", ["//v1/models", "/v1/../v1/models", "/%76%31/models", "/v1/models/", "/v1//models"]
)
def test_another_spelling_is_no_way_round(spelled, platform, tried):
    url = platform.urls["registry"]
    response = httpx.get(httpx.URL(url, raw_path=spelled.encode()), trust_env=False)
    assert response.status_code in {301, 308, 401, 404}
    tried("routes that stayed shut", "registry: other spellings")


def test_no_route_is_missing_from_the_document(platform, postgres_url, tmp_path):
    """What is not documented would not be walked: the apps' own tables of routes are compared."""
    for service, app in apps(platform, postgres_url, tmp_path).items():
        routes = {
            f"{method} {PLACE.sub(_as_documented, rule.rule)}"
            for rule in app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
        undocumented = routes - set(PERMISSIONS[service]) - PUBLIC_EVERYWHERE
        assert all("/static/" in r or r.startswith("GET /docs/") for r in undocumented), (
            undocumented
        )
        assert set(PERMISSIONS[service]) <= routes


def apps(platform, database_url, folder):
    tokens = folder / "tokens.json"
    write_tokens(tokens, [])
    token = platform.stack.token_files["reader"]
    redis_url = (platform.folder / "secrets" / "valkey.url").read_text()
    shared = {"tokens_file": tokens, "redis_url": redis_url}
    other = {"registry_url": platform.urls["registry"], "token_file": token}
    return {
        "registry": create_registry(
            RegistrySettings(
                database_url=database_url,
                store_url=str(folder / "store"),
                staging_folder=folder / "staging",
                **shared,
            )
        ),
        "scheduler": create_scheduler(
            SchedulerSettings(database_url=database_url, log_folder=folder / "logs", **shared)
        ),
        "serving": create_serving(
            ServingSettings(work_folder=folder / "work", backend="onnx", **shared, **other)
        ),
        "monitor": create_monitor(
            MonitorSettings(scheduler_url=platform.urls["scheduler"], **shared, **other)
        ),
    }
