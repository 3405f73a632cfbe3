# The service, without PyTorch. README.md and docs/docker.md say how it is run.
#
#   docker build -t resnet-serve .                                          on the CPU
#   docker build -t resnet-serve:gpu --build-arg ACCEL=gpu .                with CUDA and cuDNN, from their wheels
#   docker build -t resnet-serve:mine --build-arg ARTIFACTS=artifacts .     with a model repository inside

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG ACCEL=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What changes least comes first: a change of the code installs nothing again.
# A compiler of the base's own release; it does not reach the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock requirements/${ACCEL}.lock requirements/otel.lock requirements/
RUN python -m venv --without-pip /opt/resnet \
    && pip install --require-hashes -r requirements/build.lock \
    && pip --python /opt/resnet/bin/python install --require-hashes -r requirements/${ACCEL}.lock -r requirements/otel.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY models models
COPY export export
COPY service service
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/resnet/bin/python install --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG ARTIFACTS=docker/models
LABEL org.opencontainers.image.title="resnet-serve" \
      org.opencontainers.image.description="A REST microservice that serves trained ResNets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/resnet /opt/resnet
COPY docker/healthcheck.py /opt/healthcheck.py
COPY ${ARTIFACTS} /models
# The sockets' folder of --frontends goes where its shared memory is: the root may be read-only. `docker stop` kills after
# ten seconds, so the service ends before. NVIDIA's runtime passes on what is named here.
ENV PATH=/opt/resnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/dev/shm \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RESNET_HOST=0.0.0.0 \
    RESNET_PORT=8000 \
    RESNET_ARTIFACTS=/models \
    RESNET_SHUTDOWN_TIMEOUT_S=8
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "/opt/healthcheck.py"]
ENTRYPOINT ["resnet-serve"]
