"""A stack's secrets: made once, each in a file that only its owner reads."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from utils.service.auth import Role, Token, write_tokens
from utils.service.embedded.child import secret

ROLES: tuple[Role, ...] = ("reader", "submitter", "trainer", "admin")
_SERVICES: dict[str, Role] = {"serving": "reader", "monitor": "submitter"}


class Credentials:
    """One token a role, a service and a trainer; the services know only their digests."""

    def __init__(self, folder: Path, trainers: Iterable[str]) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        holders: dict[str, Role] = {role: role for role in ROLES}
        holders |= _SERVICES | dict.fromkeys(trainers, "trainer")
        self.token_files = {name: folder / f"{name}.token" for name in holders}
        self.tokens_file = folder / "tokens.json"
        write_tokens(
            self.tokens_file,
            [
                Token.of(name, role, secret(self.token_files[name], _fresh))
                for name, role in holders.items()
            ],
        )

    def keep(self, name: str, text: str) -> Path:
        """Write something secret, such as a database's URL, and say where it lies."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path


def _fresh() -> str:
    return secrets.token_urlsafe(32)
