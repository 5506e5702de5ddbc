# What coil is compared with: the way that uv's documentation recommends, with cache mounts, bytecode, and the
# dependencies in a layer of their own. bench/run makes the base: python:3.11-slim with uv's binary in it.
FROM coil-bench/python-uv:3.11
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# Another value makes a fresh build that keeps uv's cache; `--no-cache` would empty the cache mounts too.
ARG FRESH=0
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --locked --no-install-project --no-dev
COPY . /app
ENV PATH=/app/.venv/bin:$PATH
USER 1000
CMD ["uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]
