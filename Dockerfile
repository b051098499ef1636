# Three images: serve (on CPUs), serve-gpu and train. docs/containers.md says how to run them.

FROM python:3.11-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
# The standard library comes without bytecode, and a read-only root never gets any: that costs each start 0.5 s.
RUN python -m compileall -q -x site-packages /usr/local/lib/python3.11
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp bonsai


FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt .


# The requirements by themselves: a change to the code, or elsewhere in pyproject.toml, then installs nothing again.
FROM build AS requirements
COPY pyproject.toml .
RUN python - <<'EOF'
import pathlib, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
for extra, packages in project["optional-dependencies"].items():
    pathlib.Path(f"{extra}.txt").write_text("\n".join(project["dependencies"] + packages))
EOF


# The environments hold no pip: the build stage's own fills them.
FROM build AS venv-cpu
COPY --from=requirements /build/cpu.txt .
RUN python -m venv --without-pip /venv && pip --python /venv/bin/python install -c constraints.txt -r cpu.txt


FROM build AS venv-gpu
COPY --from=requirements /build/gpu.txt .
RUN python -m venv --without-pip /venv && pip --python /venv/bin/python install -c constraints.txt -r gpu.txt


FROM build AS venv-train
COPY --from=requirements /build/train.txt .
# pip reads it: the address of the index of PyTorch's CPU builds. The default index has the CUDA build, which is large.
ARG PIP_EXTRA_INDEX_URL
RUN python -m venv --without-pip /venv && pip --python /venv/bin/python install -c constraints.txt -r train.txt


FROM build AS wheel
RUN pip install -c constraints.txt hatchling
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .


FROM base AS server
RUN mkdir /models /state && chown bonsai:bonsai /state
ENV BONSAI_MODELS=/models \
    BONSAI_STATE=/state \
    BONSAI_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --start-period=2m --start-interval=1s --interval=10s --timeout=5s \
    CMD ["python", "-c", "from http.client import HTTPConnection as Connection; \
c = Connection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["bonsai"]
CMD ["serve"]


FROM server AS serve
COPY --from=venv-cpu /venv /venv
# Without bytecode of pip itself, which would stay in the image; what it installs gets its own all the same.
RUN --mount=from=wheel,source=/wheel,target=/wheel \
    PYTHONDONTWRITEBYTECODE=1 pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl
USER bonsai


FROM server AS serve-gpu
COPY --from=venv-gpu /venv /venv
RUN --mount=from=wheel,source=/wheel,target=/wheel \
    PYTHONDONTWRITEBYTECODE=1 pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl
USER bonsai


FROM base AS train
COPY --from=venv-train /venv /venv
RUN --mount=from=wheel,source=/wheel,target=/wheel \
    PYTHONDONTWRITEBYTECODE=1 pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl
# It publishes as whoever owns the models folder on the host, so that the versions are that user's own.
# /runs is open to every user, like /tmp, for the same reason.
RUN mkdir /models /runs && chown bonsai:bonsai /models && chmod 1777 /runs
ENV HOME=/tmp
# As process 1, Python would not notice SIGTERM; it does notice this one, and cleans up.
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "-c", "exec setpriv --reuid=$(stat -c %u /models) --regid=$(stat -c %g /models) --clear-groups \
bonsai-train run --models /models --runs /runs \"$@\"", "bonsai-train"]
CMD ["--help"]
