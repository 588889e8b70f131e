"""A search on a SLURM cluster: workers are jobs of its queue, started by dask-jobqueue.

    pip install 'autocompress[cluster]' dask-jobqueue
    python slurm.py MODEL --data DIR --budget 10x --out RUN

Run it on a node that SLURM's own nodes reach, in the environment that they have too. PBS, LSF and
SGE are the same with `PBSCluster`, `LSFCluster` and `SGECluster`.
"""

import sys

from dask_jobqueue import SLURMCluster

from autocompress.cli import main

WORKERS = 16

if __name__ == "__main__":
    with SLURMCluster(
        queue="normal",
        cores=1,  # each worker does one trial at a time
        processes=1,
        memory="8GB",
        walltime="04:00:00",
    ) as cluster:
        # For fine-tuning, workers with a graphics processor say so:
        #   SLURMCluster(..., job_extra_directives=["--gres=gpu:1"],
        #                worker_extra_args=["--resources", "GPU=1"])
        cluster.scale(WORKERS)
        main(["search", *sys.argv[1:], "--cluster", cluster.scheduler_address])
