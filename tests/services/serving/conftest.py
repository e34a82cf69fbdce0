"""Bundles of the digits, each with other weights, and a registry that is served for real."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch

from services.serving.backends.protocol import Version
from services.trainer.samples import load_sample
from tests.services.serving.served_gateway import Gateway
from utils.service.auth import Token, write_tokens
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.embedded.child import Child, free_port
from utils.service.embedded.valkey import ValkeyServer
from utils.service.http import ServiceClient
from utils.service.packing import pack
from utils.training.export_utilities import create_export_bundle
from utils.training.training_config import TrainingConfig

ROOT = Path(__file__).parents[3]
ROLES = ("reader", "trainer", "admin")


def export_digits(folder, seed, formats=("onnx",)):
    """A bundle of the untrained digits model with the weights of a seed."""
    sample = load_sample("digits")
    torch.manual_seed(seed)
    return create_export_bundle(
        model=sample.build_model(),
        config=None,
        task_spec=sample.task_spec,
        training_config=TrainingConfig(export_dir=str(folder), export_formats=list(formats)),
        reference_profile={"version": 1},
    )


@pytest.fixture(scope="session")
def digits_bundles(tmp_path_factory):
    """Two bundles that give different outputs for the same input."""
    return [export_digits(tmp_path_factory.mktemp(f"digits-{seed}"), seed) for seed in (0, 1)]


def as_versions(bundles, folder):
    """The bundles, copied, as versions 1, 2, ... of a name."""
    found = []
    for number, bundle in enumerate(bundles, start=1):
        copy = folder / f"bundle-{number}"
        shutil.copytree(bundle, copy)
        found.append(
            Version(
                name="digits",
                version=str(number),
                model_id=number,
                digest=f"{number:064x}",
                folder=copy,
            )
        )
    return found


@pytest.fixture(scope="module")
def versions(digits_bundles, tmp_path_factory):
    """The two bundles as versions 1 and 2."""
    return as_versions(digits_bundles, tmp_path_factory.mktemp("versions"))


@pytest.fixture
def own_versions(digits_bundles, tmp_path):
    """The same in folders that a test may damage."""
    return as_versions(digits_bundles, tmp_path / "versions")


@pytest.fixture
def torchscript_version(tmp_path):
    """A version whose bundle has no ONNX model."""
    bundle = export_digits(tmp_path / "exports", 2, ["torchscript"])
    (version,) = as_versions([bundle], tmp_path / "torchscript")
    return version


@pytest.fixture
def sample_request(digits_bundles):
    """Tensors that the models take, as a document of the Open Inference Protocol."""
    text = (digits_bundles[0] / "sample_input.json").read_text()
    return {"inputs": json.loads(text)["tensors"]}


@pytest.fixture
def expected(versions):
    """What each version answers to it, by the version's number."""

    def read(version):
        text = (version.folder / "expected_output.json").read_text()
        return json.loads(text)["tensors"][0]["data"]

    return {version.version: read(version) for version in versions}


class Registry:
    """A registry service that can be killed and started again, and callers in two roles."""

    def __init__(self, folder, database_url, redis_url):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        write_tokens(folder / "tokens.json", [Token.of(r, r, f"{r}-token") for r in ROLES])
        for role in ROLES:
            (folder / role).write_text(f"{role}-token")
        values = {
            "PORT": self.port,
            "TOKENS_FILE": folder / "tokens.json",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STORE_URL": folder / "store",
            "STAGING_FOLDER": folder / "staging",
            "RATE_LIMIT": "100000/minute",
        }
        self._env = {f"TRAINING_REGISTRY_{name}": str(value) for name, value in values.items()}
        self._child = Child("registry", folder / "registry.log")
        self._services = {
            role: ServiceClient(self.url, folder / role, patience_seconds=2) for role in ROLES
        }
        self.clients = SimpleNamespace(
            **{role: RegistryClient(service) for role, service in self._services.items()}
        )

    def start(self):
        self._child.start(
            [sys.executable, "-m", "services.registry"], env=os.environ | self._env, cwd=ROOT
        )
        self._child.wait_until(self._answers, 120)

    def kill(self):
        self._child.kill()

    def close(self):
        for service in self._services.values():
            service.close()
        self._child.stop()

    def publish(self, bundle, name="digits", *, promote=True):
        """Register a bundle's folder, and make it the production version."""
        archive = self.folder / "bundle.tar"
        pack(bundle, archive)
        model = self.clients.trainer.register(
            ModelRegistration(
                name=name,
                bundle_digest=self.clients.trainer.upload(archive),
                task_type="vision_classification",
            )
        )
        if promote:
            self.promote(model)
        return model

    def promote(self, model):
        self.clients.admin.promote(model.model_id, PromotionRequest(force=True, reason="a test"))

    def stored(self, model):
        """The file that the store has of a model's bundle."""
        digest = model.artifact_digest
        return self.folder / "store" / digest[:2] / digest

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="package")
def valkey(tmp_path_factory):
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def registry(tmp_path, postgres_url, valkey):
    registry = Registry(tmp_path, postgres_url, valkey.url())
    registry.start()
    yield registry
    registry.close()


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.close()
