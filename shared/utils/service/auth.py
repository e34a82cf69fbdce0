"""Bearer tokens with roles, read from a file and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from utils.training.errors import InvalidConfigError

Role = Literal["reader", "submitter", "trainer", "admin"]

# What each role may do: a route asks for one role, and these hold it.
_HOLDERS: dict[Role, frozenset[Role]] = {
    "reader": frozenset({"reader", "submitter", "trainer", "admin"}),
    "submitter": frozenset({"submitter", "admin"}),
    "trainer": frozenset({"trainer", "admin"}),
    "admin": frozenset({"admin"}),
}


class Token(BaseModel):
    """One line of the tokens file: whose token it is, its role, and the SHA-256 of its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    role: Role
    sha256: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    expires: AwareDatetime | None = None

    @classmethod
    def of(cls, name: str, role: Role, text: str, expires: datetime | None = None) -> Token:
        """The entry for a token's text; the text itself is never stored."""
        return cls(name=name, role=role, sha256=_digest(text), expires=expires)


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    name: str
    role: Role

    def holds(self, role: Role) -> bool:
        """True where this caller may do what asks for ``role``."""
        return self.role in _HOLDERS[role]


class TokenBook:
    """The tokens a service accepts; a changed file is read again, so that tokens rotate live."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._tokens: list[Token] = []
        self._refresh()

    def caller(self, text: str) -> Caller | None:
        """The caller whose token this is, or None for an unknown or expired one.

        Every entry is compared, so that the time taken tells nothing about the tokens.
        """
        self._refresh()
        digest = _digest(text)
        now = datetime.now(UTC)
        found = None
        for token in self._tokens:
            matches = hmac.compare_digest(token.sha256, digest)
            if matches and (token.expires is None or token.expires > now):
                found = Caller(token.name, token.role)
        return found

    def _refresh(self) -> None:
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._tokens = read_tokens(self._path)
            self._stamp = stamp


def read_tokens(path: Path) -> list[Token]:
    """Read a tokens file: a JSON list of ``{name, role, sha256, expires}``.

    Raises:
        InvalidConfigError: a ValueError; the file is missing, malformed or has an unknown role.
    """
    try:
        return TypeAdapter(list[Token]).validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidConfigError([f"The tokens file {path} can't be used: {error}"]) from error
    except ValidationError as error:
        # Without what was given: somebody may have put a token where its digest belongs.
        faults = [f"{'.'.join(map(str, e['loc'])) or 'all'}: {e['msg']}" for e in error.errors()]
        raise InvalidConfigError(
            [f"The tokens file {path} can't be used: {'; '.join(faults)}."]
        ) from None


def write_tokens(path: Path, tokens: list[Token]) -> None:
    """Write a tokens file, atomically and readable by its owner only."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.touch(mode=0o600)
    entries = [token.model_dump(mode="json", exclude_none=True) for token in tokens]
    temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
