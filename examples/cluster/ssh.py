"""A search on machines that are reached by SSH, which all have the same environment.

pip install 'autocompress[cluster]' asyncssh
python ssh.py MODEL --data DIR --budget 10x --out RUN
"""

import sys

from distributed import SSHCluster

from autocompress.cli import main

HOSTS = ["node1", "node2", "node3"]
WORKERS = 4  # on each machine, each of which does one trial at a time

if __name__ == "__main__":
    with SSHCluster(
        [HOSTS[0], *HOSTS],  # the first one runs the scheduler
        worker_options={"n_workers": WORKERS, "nthreads": 1},
        remote_python=sys.executable,
    ) as cluster:
        # For fine-tuning, machines with graphics processors are given resources:
        #   worker_options={"n_workers": 1, "nthreads": 8, "resources": {"GPU": 1}}
        main(["search", *sys.argv[1:], "--cluster", cluster.scheduler_address])
