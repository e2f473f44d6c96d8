# One image for every service of docker-compose.yml.
FROM python:3.12-slim

# OpenMP for LightGBM.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.lock ./
# Torch's CPU build is found on its own index; without it (docker-compose.gpu.yml) pip adds gigabytes of CUDA libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

EXPOSE 3000
