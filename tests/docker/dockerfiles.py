"""Dockerfiles as stages of instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PUBLISHED = {
    "services.Dockerfile": {"registry", "scheduler", "monitor", "cli"},
    "serving.Dockerfile": {"serving"},
    "trainer.Dockerfile": {"trainer"},
}


@dataclass
class Stage:
    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, word):
        return [rest for name, rest in self.instructions if name == word]


def stages_of(path):
    """Stages by name; each has the instructions of the stage it stands on before its own."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    stages = {}
    stage = None
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            inherited = stages[base].instructions if base in stages else []
            stage = stages[name] = Stage(name, base, list(inherited))
        elif word and stage is not None:
            stage.instructions.append((word, rest))
    return stages


def published():
    """Each stage that becomes an image, by the service's name."""
    return {
        service: stages_of(path)[service]
        for path in DOCKERFILES
        for service in PUBLISHED[path.name]
    }
