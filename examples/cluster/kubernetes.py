"""A search on Kubernetes: workers are pods, started by the operator of dask-kubernetes.

    helm install --repo https://helm.dask.org --generate-name dask-kubernetes-operator
    pip install 'autocompress[cluster]' dask-kubernetes
    python kubernetes.py MODEL --data DIR --budget 10x --out RUN

IMAGE holds the same autocompress, the same Python and whatever the task imports:

    FROM python:3.11-slim
    RUN pip install 'autocompress[cluster]'
"""

import sys

from dask_kubernetes.operator import KubeCluster

from autocompress.cli import main

IMAGE, WORKERS = "registry.example.org/autocompress", 8

if __name__ == "__main__":
    with KubeCluster(
        name="autocompress",
        image=IMAGE,
        n_workers=WORKERS,
        resources={"requests": {"cpu": "1", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
    ) as cluster:
        # For fine-tuning, a group of workers with graphics processors:
        #   cluster.add_worker_group(
        #       name="gpu", n_workers=2,
        #       resources={"limits": {"nvidia.com/gpu": 1}},
        #       worker_command=["dask-worker", "--resources", "GPU=1"],
        #   )
        main(["search", *sys.argv[1:], "--cluster", cluster.scheduler_address])
