"""A gateway that is served for real, over versions that a test loads by itself."""

from __future__ import annotations

import threading

import httpx
from werkzeug.serving import make_server

from services.serving.app import create_app
from services.serving.settings import ServingSettings
from utils.service.auth import Token, write_tokens


class Gateway:
    """The service's app on a port, with ONNX Runtime behind it and nothing that follows."""

    def __init__(self, folder, redis_url=None, **values):
        write_tokens(folder / "tokens.json", [Token.of("r", "reader", "reader-token")])
        (folder / "reader").write_text("reader-token")
        app = create_app(
            ServingSettings(
                tokens_file=folder / "tokens.json",
                token_file=folder / "reader",
                registry_url="http://127.0.0.1:9",
                redis_url=redis_url,
                work_folder=folder / "serving",
                backend="onnx",
                model_names=("awaited", "digits"),
                **values,
            )
        )
        self.parts = app.extensions["parts"]
        self.parts._follower.settled.set()
        self.parts.answering.summaries.start()
        self.headers = {"Authorization": "Bearer reader-token"}
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self._client = httpx.Client(base_url=self.url, headers=self.headers, trust_env=False)

    def serve(self, version):
        """Let a version answer, loaded unless it is."""
        if self.parts.catalogue.current(version.name) != version:
            self.parts.backend.load(version)
            self.parts.catalogue.switch(version)

    def get(self, path):
        return self._client.get(path)

    def post(self, path, body=None, content=None, headers=None):
        if content is None:
            return self._client.post(path, json=body, headers=headers)
        return self._client.post(path, content=content, headers=headers)

    def sample(self, name, version="1", **labels):
        """A metric of a version of the digits."""
        labels |= {"model_name": "digits", "model_version": version}
        return self.parts.metrics.registry.get_sample_value(name, labels)

    def summaries(self, outcome):
        """How many summaries were sent, dropped or failed."""
        return self.parts.metrics.registry.get_sample_value(
            "serving_summaries_total", {"outcome": outcome}
        )

    def close(self):
        self._client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.parts.answering.summaries.close()
        self.parts.backend.close()
