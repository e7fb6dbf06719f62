"""What a run asks of a cluster, in Ray's fields and in words, and whether a node could ever hold it."""

from __future__ import annotations

import pytest

from training.runs.launchers.ray.jobs_api import ClusterNode
from training.runs.launchers.ray.room import Wanted, has_gpus, misfit
from training.runs.launchers.ray.timing import Timing

SMALL = ClusterNode("a", "10.0.0.1", 4, 0, 8e9, {"CPU": 4, "memory": 8e9})
LARGE = ClusterNode("b", "10.0.0.2", 16, 2, 60e9, {"CPU": 16, "GPU": 2, "memory": 60e9, "training": 1})


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(4), (True, True)),
        (Wanted(5), (False, True)),
        (Wanted(1, 1), (False, True)),
        (Wanted(1, 3), (False, False)),
        (Wanted(1, 0, 20_000_000_000), (False, True)),
        (Wanted(1, resources={"training": 1}), (False, True)),
        (Wanted(1, resources={"training": 2}), (False, False)),
    ],
)
def test_a_node_holds_what_it_has_enough_of(wanted: Wanted, fits: tuple[bool, bool]) -> None:
    assert (wanted.fits(SMALL), wanted.fits(LARGE)) == fits


def test_what_is_missing_is_said_with_both_numbers() -> None:
    wanted = Wanted(8, 8, 40_000_000_000, {"training": 1})
    assert misfit(wanted, [SMALL, LARGE]) == (
        "It asks for 8 GPUs, 8 CPUs, 40 GB of memory, 1 training on one node; the largest of 2 nodes has "
        "2 GPUs, 16 CPUs, 60 GB of memory, 1 training."
    )
    assert misfit(Wanted(1), []) == "It asks for 1 CPU, and the cluster has no node."


def test_the_fields_are_those_of_ray_and_none_is_asked_for_nothing() -> None:
    assert Wanted(1).request == {"entrypoint_num_cpus": 1}
    assert Wanted(2, 1, 5, {"training": 1.0}).request == {
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 5,
        "entrypoint_resources": {"training": 1.0},
    }


def test_several_nodes_give_the_same_each_and_the_job_itself_next_to_nothing() -> None:
    wanted = Wanted(4, 0, 5, {"training": 1.0}, nodes=2)
    assert wanted.text == "4 CPUs, 5e-09 GB of memory, 1 training on each of 2 nodes"
    assert Wanted(4, nodes=2).fits_in([SMALL, LARGE]) and not Wanted(5, nodes=2).fits_in([SMALL, LARGE])
    assert wanted.request == {"entrypoint_num_cpus": 0.001}
    assert wanted.place == {"nodes": 2, "cpus": 3.999, "gpus": 0, "memory": 5, "resources": {"training": 1.0}}
    assert Wanted(0, 1, nodes=2).place["cpus"] == 0, "RAY_CPUS_PER_PROCESS=0"
    assert Wanted(0, nodes=2).place["cpus"] > 0, "Ray refuses a place that gives nothing"


def test_the_node_that_is_named_comes_nearest_to_what_is_asked_for() -> None:
    head = ClusterNode("c", "10.0.0.3", 0, 0, 90e9, {"memory": 90e9})  # takes no work, and has most memory
    assert Wanted(64).nearest([head, SMALL]) is SMALL and Wanted(64).nearest([SMALL, LARGE]) is LARGE
    assert Wanted(1, 0, 80_000_000_000).nearest([SMALL, LARGE]) is LARGE and Wanted(1).nearest([]) is None


def test_a_cluster_has_gpus_where_a_node_has_one() -> None:
    assert has_gpus([SMALL, LARGE]) and not has_gpus([SMALL])


@pytest.mark.parametrize("lease", [2.0, 30.0, 300.0])
def test_a_recipe_is_over_before_the_next_attempt_may_begin(lease: float) -> None:
    timing = Timing(lease)
    ends = timing.patience + timing.orphan_grace + 5.0  # the parent watchdog's, where our process was killed as well
    assert timing.surely_over > ends and timing.patience >= 2 * lease > timing.silence
