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

# By number, so that Kubernetes can check runAsNonRoot without reading the image's passwd.
RUN install -d -o 10001 -g 10001 -m 0700 /data
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]

# Others than this container reach 0.0.0.0, so `serve` refuses to start there before there is a key:
#   docker run --rm -v promobandit:/data IMAGE keys create --scope admin --data-dir /data
ENTRYPOINT ["promobandit"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--data-dir", "/data"]
