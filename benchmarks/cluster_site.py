"""The site of `cluster_faults`: Postgres, Redis, S3, two web processes, two workers, a background worker and a Ray
cluster of two raylets (`hosts_site`)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hosts_site import BACKGROUND, WEBS, WORKERS, HostsSite, Storage, shared_variables
from tests.support.s3_server import s3_server
from tests.support.servers import postgres, redis_server
from tests.support.training.ray_cluster import RayCluster, ray_cluster
from training.core import step_ledger


@dataclass
class ClusterSite(HostsSite):
    cluster: RayCluster = field(kw_only=True)
    nodes: int = 0

    def start_node(self) -> None:
        """Start the second raylet, each time as a host that has nothing."""
        self.nodes += 1
        folder = self.data / f"node-{self.nodes}"
        foreign = {step_ledger.VARIABLE: str(self.ledger), "HF_HUB_OFFLINE": "1"}
        self.cluster.start_node(ASSAY_DATA=str(folder), **self.storage.variables, **foreign)


@contextmanager
def cluster_site() -> Iterator[ClusterSite]:
    """Yield the whole, serving; all of it ends with the block, and its folder with it."""
    data = Path(tempfile.mkdtemp(prefix="assay-cluster-"))
    try:
        with ExitStack() as servers:
            (data / "redis").mkdir()
            database = servers.enter_context(postgres(data / "postgres", durable=True))
            redis = servers.enter_context(redis_server(data / "redis"))
            storage = Storage(servers.enter_context(s3_server()))
            servers.callback(storage.take_away)
            cluster = servers.enter_context(ray_cluster(has_node=False))
            variables = shared_variables(data, database, redis, storage) | _of_ray(cluster)
            site = ClusterSite(data, variables, storage, cluster=cluster)
            servers.callback(site.end)
            site.start_node()
            site.set_up(*WEBS, *WORKERS, BACKGROUND)
            yield site
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _of_ray(cluster: RayCluster) -> dict[str, str]:
    return {
        "RAY_ADDRESS": cluster.url,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": cluster.token,
        "RAY_MEMORY_FACTOR": "0",
        "RAY_NODE_WAIT_SECONDS": "600",
    }
