# The images of parti. `--target sidecar` (the default) and `--target operator` are what a cluster
# runs; `--target example` is an application. Nothing is compiled: wheels only.
# They hold no shell script of ours and need no shell; they run as 65532 on a read-only root.
ARG BASE=python:3.11-slim

FROM ${BASE} AS wheel
WORKDIR /src
COPY requirements/dev.txt ./
RUN grep -E '^(hatchling|editables|packaging|pathspec|pluggy|trove-classifiers|tomlkit)==' dev.txt > build.txt \
 && python -m pip install --no-cache-dir --only-binary :all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY sidecar sidecar
COPY proto proto
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${BASE} AS sidecar-packages
COPY requirements/sidecar.txt /requirements.txt
RUN python -m venv /opt/parti \
 && /opt/parti/bin/python -m pip install --no-cache-dir --only-binary :all: -r /requirements.txt
COPY --from=wheel /wheels /wheels
RUN /opt/parti/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && rm -r /opt/parti/lib/python3.*/site-packages/parti_operator \
 && rm /opt/parti/bin/parti-operator \
 && /opt/parti/bin/python -m pip uninstall --yes setuptools pip

FROM ${BASE} AS operator-packages
COPY requirements/operator.txt /requirements.txt
RUN python -m venv /opt/parti \
 && /opt/parti/bin/python -m pip install --no-cache-dir --only-binary :all: -r /requirements.txt
COPY --from=wheel /wheels /wheels
RUN /opt/parti/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && rm /opt/parti/bin/parti-sidecar \
 && /opt/parti/bin/python -m pip uninstall --yes setuptools pip

FROM ${BASE} AS operator
LABEL org.opencontainers.image.title="parti-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=operator-packages /opt/parti /opt/parti
ENV PATH=/opt/parti/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["parti-operator"]

FROM ${BASE} AS example
LABEL org.opencontainers.image.title="parti-example" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=sidecar-packages /opt/parti /opt/parti
COPY examples/hello /app
ENV PATH=/opt/parti/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["python", "/app/app.py"]

FROM ${BASE} AS sidecar
LABEL org.opencontainers.image.title="parti-sidecar" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=sidecar-packages /opt/parti /opt/parti
ENV PATH=/opt/parti/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["parti-sidecar"]
