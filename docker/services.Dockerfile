# The services without torch, a target each: registry, scheduler, monitor, cli.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY pyproject.toml ./
COPY docker/constraints.txt docker/install.sh docker/

FROM build AS registry-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf sh docker/install.sh registry

FROM build AS scheduler-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf sh docker/install.sh scheduler

FROM build AS monitor-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf sh docker/install.sh monitor

FROM build AS cli-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf sh docker/install.sh cli

FROM build AS code
WORKDIR /opt/training-engine
COPY services services
COPY shared/utils utils
RUN chmod -R a+rX,go-w . && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE_IMAGE} AS runtime
RUN groupadd --gid 10001 training \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin training \
    && install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/training-engine
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /opt/training-engine
EXPOSE 8000
LABEL org.opencontainers.image.version="4.0.0" \
      org.opencontainers.image.vendor="training-engine"

FROM runtime AS registry
LABEL org.opencontainers.image.title="training-engine-registry" \
      org.opencontainers.image.description="Models, runs and artifacts, with the promotion gate."
COPY --from=registry-packages /opt/venv /opt/venv
COPY --from=code /opt/training-engine /opt/training-engine
USER 10001:10001
ENV TRAINING_REGISTRY_HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "utils.service.alive", "TRAINING_REGISTRY"]
ENTRYPOINT ["python", "-m", "services.registry"]

FROM runtime AS scheduler
LABEL org.opencontainers.image.title="training-engine-scheduler" \
      org.opencontainers.image.description="Jobs, schedules and triggers, and the loops behind them."
COPY --from=scheduler-packages /opt/venv /opt/venv
COPY --from=code /opt/training-engine /opt/training-engine
USER 10001:10001
ENV TRAINING_SCHEDULER_HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "utils.service.alive", "TRAINING_SCHEDULER"]
ENTRYPOINT ["python", "-m", "services.scheduler"]

FROM runtime AS monitor
LABEL org.opencontainers.image.title="training-engine-monitor" \
      org.opencontainers.image.description="Drift of live predictions, the platform's health, alerts."
COPY --from=monitor-packages /opt/venv /opt/venv
COPY --from=code /opt/training-engine /opt/training-engine
USER 10001:10001
ENV TRAINING_MONITOR_HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "utils.service.alive", "TRAINING_MONITOR"]
ENTRYPOINT ["python", "-m", "services.monitor"]

# A command, not a server: there is nothing to ask whether it lives.
FROM runtime AS cli
LABEL org.opencontainers.image.title="training-engine-cli" \
      org.opencontainers.image.description="trainctl, the command line of the platform."
COPY --from=cli-packages /opt/venv /opt/venv
COPY --from=code /opt/training-engine /opt/training-engine
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "services.cli"]
