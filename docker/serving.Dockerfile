# Serving. VARIANT=torchserve has both back ends: Java from a wheel, and torch, which TorchServe's workers import.
# VARIANT=onnx has ONNX Runtime alone, and is a quarter of the size.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS packages
ARG VARIANT=torchserve
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml ./
COPY docker/constraints.txt docker/install.sh docker/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    case "${VARIANT}" in \
        torchserve) sh docker/install.sh serving "${TORCH_INDEX}" ;; \
        onnx) sh docker/install.sh serving-onnx ;; \
        *) echo "VARIANT is '${VARIANT}'; choose torchserve or onnx." >&2; exit 1 ;; \
    esac

FROM ${BASE_IMAGE} AS code
WORKDIR /opt/training-engine
COPY services services
COPY shared/utils utils
RUN chmod -R a+rX,go-w . && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE_IMAGE} AS serving
ARG VARIANT=torchserve
RUN groupadd --gid 10001 training \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin training \
    && install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/training-engine
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 TRAINING_SERVING_HOST=0.0.0.0 TRAINING_SERVING_BACKEND=${VARIANT}
WORKDIR /opt/training-engine
COPY --from=packages /opt/venv /opt/venv
LABEL org.opencontainers.image.title="training-engine-serving" \
      org.opencontainers.image.description="The gateway that answers predictions, and what it runs models with." \
      org.opencontainers.image.version="4.0.0" \
      org.opencontainers.image.vendor="training-engine"
COPY --from=code /opt/training-engine /opt/training-engine
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "utils.service.alive", "TRAINING_SERVING"]
ENTRYPOINT ["python", "-m", "services.serving"]
