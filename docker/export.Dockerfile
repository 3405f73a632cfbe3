# The exporter, with PyTorch: a checkpoint goes in, a model repository comes out.
#
#   docker build -t resnet-export -f docker/export.Dockerfile .
#   docker run --rm -v "$PWD/artifacts:/export/artifacts" -v "$PWD/weights:/weights:ro" --user "$(id -u)" \
#     resnet-export resnet18 --weights /weights/mine.pth
#
# TORCH_PIP_ARGS="--index-url URL" takes another build of PyTorch, such as the much smaller one for CPUs.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_PIP_ARGS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# A compiler of the base's own release; it does not reach the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock requirements/export.lock requirements/
COPY pyproject.toml ./
# torch alone comes unhashed, at the version that pyproject.toml pins: each of its builds has a hash of its own.
# TORCH_PIP_ARGS is several arguments in one.
# hadolint ignore=SC2086,DL3013
RUN python -m venv --without-pip /opt/resnet \
    && pip install --require-hashes -r requirements/build.lock \
    && pip --python /opt/resnet/bin/python install --require-hashes -r requirements/export.lock \
    && pip --python /opt/resnet/bin/python install ${TORCH_PIP_ARGS} "$(sed -nE 's/^ *"(torch==[^"]+)".*/\1/p' pyproject.toml)"
COPY hatch_build.py README.md LICENSE ./
COPY models models
COPY export export
COPY service service
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/resnet/bin/python install --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="resnet-export" \
      org.opencontainers.image.description="Exports trained ResNets for resnet-serve" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/resnet /opt/resnet
# Official weights are downloaded into /cache: mount a volume there to keep them.
ENV PATH=/opt/resnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TORCH_HOME=/cache
RUN install -d -m 1777 /export /cache
USER 10001:10001
WORKDIR /export
ENTRYPOINT ["resnet-export"]
