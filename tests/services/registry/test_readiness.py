"""What the registry can't do without, and what it can."""

from __future__ import annotations

from services.registry.app import create_app
from services.registry.settings import RegistrySettings
from utils.service.auth import Token, write_tokens
from utils.service.embedded.child import free_port


def test_without_redis_the_registry_is_degraded_and_not_unready(tmp_path, postgres_url):
    write_tokens(tmp_path / "tokens.json", [Token.of("a reader", "reader", "text")])
    settings = RegistrySettings(
        tokens_file=tmp_path / "tokens.json",
        database_url=postgres_url,
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        store_url=str(tmp_path / "store"),
        staging_folder=tmp_path / "staging",
    )
    answer = create_app(settings).test_client().get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"] == {"database": "ok", "redis": "ConnectionError"}
