# syntax=docker/dockerfile:1
# The base image is named by tag, not by digest: its security updates come with each build, and the
# price is that two builds may differ below Python. Everything of ours is pinned by hash.
FROM python:3.11-slim AS builder

# base: Redis and SQL are outside, as in production. serve: brings an embedded Redis-protocol server.
ARG LOCK=base

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
RUN python -m venv /opt/promobandit
COPY requirements/${LOCK}.txt requirements/lock.txt
RUN /opt/promobandit/bin/pip install --no-deps --require-hashes -r requirements/lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN /opt/promobandit/bin/pip install --no-deps --no-build-isolation . \
    && /opt/promobandit/bin/python -m compileall -q /opt/promobandit/lib \
    && /opt/promobandit/bin/pip uninstall --yes --quiet setuptools pip

FROM python:3.11-slim AS runtime

COPY --from=builder /opt/promobandit /opt/promobandit

# Bytecode is compiled above and nothing is written beside the code: the root may be read-only.
ENV PATH=/opt/promobandit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# By number, so that Kubernetes can check runAsNonRoot without reading the image's passwd. Volumes on
# these directories begin as theirs do: /metrics is for one in memory, else metrics are in /data.
RUN install -d -o 10001 -g 10001 -m 0700 /data /metrics
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000

# No HEALTHCHECK: it would be that of all commands, and worker, migrate and keys listen nowhere. Who
# runs the image knows which one it is: docker-compose.yml and deploy/k8s ask /readyz of the API alone.

# Others than this container reach 0.0.0.0, so `serve` refuses to start there before there is a key:
#   docker run --rm -v promobandit:/data IMAGE keys create --scope admin --data-dir /data
ENTRYPOINT ["promobandit"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--data-dir", "/data"]
