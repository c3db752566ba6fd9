# syntax=docker/dockerfile:1
# The worker, alone: one process, not root, works with a read-only root.
#
#   docker build -t orbyt-worker .
#   docker run --init --read-only --tmpfs /tmp -v orbyt-spool:/var/spool/orbyt --env-file .env --stop-timeout 30 orbyt-worker
#
# --init: as process 1 the worker would not hear a SIGTERM that comes before its handler is installed (about a second).
#
# /var/spool/orbyt holds media while it is relayed (ORBYT_SPOOL_BYTES_MAX bounds it); nothing there outlives a start.

FROM python:3.11-slim AS build

# The version the Makefile pins.
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/app

WORKDIR /src
# Dependencies first: this layer stays while only our code changes.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-default-groups --no-install-project

COPY README.md LICENSE ./
COPY orbyt_worker ./orbyt_worker
COPY supabase/migrations ./supabase/migrations
RUN uv sync --locked --no-default-groups --no-editable

FROM python:3.11-slim

# The spool is open like /tmp (each worker makes a private directory in it): a tmpfs mounted there takes over this mode but
# belongs to root, and `--user` may name somebody else.
RUN groupadd --gid 10001 orbyt \
    && useradd --uid 10001 --gid orbyt --no-create-home --home-dir /nonexistent orbyt \
    && install --directory --mode=1777 /var/spool/orbyt
COPY --from=build /app /app

ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORBYT_SPOOL_DIR=/var/spool/orbyt \
    ORBYT_HTTP_HOST=0.0.0.0 \
    ORBYT_HTTP_PORT=8080
USER 10001:10001
WORKDIR /
VOLUME /var/spool/orbyt
EXPOSE 8080

# Python because the image has no curl; a second process for a moment, started by the runtime. Not urllib, which would ask
# the proxy where the environment names one.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ORBYT_HTTP_PORT']), timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]

# SIGTERM: no new claims, running jobs reach a checkpoint (ORBYT_SHUTDOWN_SECONDS), the rest is given back. Exec form, so that
# the worker gets the signal itself. Give the runtime a few seconds more than that before it kills.
STOPSIGNAL SIGTERM
ENTRYPOINT ["orbyt-worker"]
CMD ["run"]
