# One image for every service of docker-compose.yml.
FROM python:3.12-slim

# OpenMP for LightGBM.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
# The package's metadata alone: its code changes more often than what it depends on, and an editable installation only points to it.
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY quant_assets/__init__.py quant_assets/
# Torch's CPU build is found on its own index; without it (docker-compose.gpu.yml) pip adds gigabytes of CUDA libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Of docs/installing.md. Without deep the image is a third smaller.
ARG EXTRAS=deep,external,live,mlflow,portfolio,s3,sentiment
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} -c requirements.lock -e ".[$EXTRAS]"
COPY . .

EXPOSE 3000
