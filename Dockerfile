# sa3-edge on the CPU, not as root; models in the volume /models, clips in the folder that is mounted at /clips.
# To pull the real model too: --build-arg EXTRAS="[export]", which adds PyTorch's CPU build.
FROM python:3.13-slim AS build
ARG EXTRAS=""
WORKDIR /source
COPY . .
RUN python -m venv /app \
    && if [ -n "$EXTRAS" ]; then /app/bin/pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu; fi \
    && /app/bin/pip install --no-cache-dir ".${EXTRAS}"

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 musician \
    && mkdir /models /clips \
    && chown musician /models /clips
COPY --from=build /app /app
USER musician
ENV PATH=/app/bin:$PATH \
    XDG_DATA_HOME=/models
VOLUME ["/models"]
WORKDIR /clips
ENTRYPOINT ["sa3-edge"]
CMD ["--help"]
