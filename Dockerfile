# The page and the API of rebridge in a container.
#
#     docker build -t rebridge .                                             # for the CPU
#     docker build -t rebridge:cuda --build-arg DEVICE=cuda .                # for NVIDIA GPUs
#     docker run --rm -p 127.0.0.1:8000:8000 rebridge                        # prints an address with a token
#     docker run --rm --gpus all -p 127.0.0.1:8000:8000 rebridge:cuda

ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# cpu or cuda; the index has builds of PyTorch for it.
ARG DEVICE=cpu
ARG CUDA=cu126
ARG TORCH=2.13.0
ARG EXTRAS=app,formats,hub,video

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HUB_OFFLINE=1

WORKDIR /opt/rebridge
RUN case "$DEVICE" in \
      cpu) index="https://download.pytorch.org/whl/cpu" ;; \
      cuda) index="https://download.pytorch.org/whl/$CUDA" ;; \
      *) echo "DEVICE must be cpu or cuda, got $DEVICE" >&2; exit 1 ;; \
    esac \
    && pip install "torch==$TORCH" --index-url "$index"

COPY pyproject.toml README.md LICENSE ./
COPY rebridge ./rebridge
RUN pip install ".[$EXTRAS]"

# Uploads live in a temporary folder that vanishes with the container; nothing else is written.
RUN useradd --create-home --uid 10001 rebridge
USER rebridge
WORKDIR /home/rebridge
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["rebridge"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
