# The trainer. VARIANT=cpu takes torch from TORCH_INDEX, where wheels are without CUDA; VARIANT=cuda takes PyPI's, with it.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS packages
ARG VARIANT=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml ./
COPY docker/constraints.txt docker/install.sh docker/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    case "${VARIANT}" in \
        cpu) sh docker/install.sh trainer "${TORCH_INDEX}" ;; \
        cuda) sh docker/install.sh trainer ;; \
        *) echo "VARIANT is '${VARIANT}'; choose cpu or cuda." >&2; exit 1 ;; \
    esac

FROM ${BASE_IMAGE} AS code
WORKDIR /opt/training-engine
COPY services services
COPY shared/utils utils
RUN chmod -R a+rX,go-w . && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE_IMAGE} AS trainer
RUN groupadd --gid 10001 training \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin training \
    && install --directory --owner 10001 --group 10001 --mode 0750 \
        /var/lib/training-engine /var/lib/training-engine/data /var/lib/training-engine/work
# Which GPUs a container sees is the orchestrator's to say, never the image's.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /opt/training-engine
COPY --from=packages /opt/venv /opt/venv
LABEL org.opencontainers.image.title="training-engine-trainer" \
      org.opencontainers.image.description="Claims jobs and trains, evaluates and exports models." \
      org.opencontainers.image.version="4.0.0" \
      org.opencontainers.image.vendor="training-engine"
COPY --from=code /opt/training-engine /opt/training-engine
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=20s --start-period=300s --retries=4 \
    CMD ["python", "-m", "services.trainer.alive"]
ENTRYPOINT ["python", "-m", "services.trainer"]
