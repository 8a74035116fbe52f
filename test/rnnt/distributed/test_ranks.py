"""What torchrun's and Slurm's variables say."""

import pytest

from rnnt.distributed.ranks import FIRST_PORT, PORTS, detect_ranks, first_host, tasks_per_node

SLURM = {
    "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "5", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "node[02-03,7]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}  # fmt: skip


def test_alone_without_variables():
    assert detect_ranks(environment={}) is None


def test_torchrun():
    environment = {
        "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "a", "MASTER_PORT": "77",
    }  # fmt: skip
    info = detect_ranks(environment={**SLURM, **environment})
    assert (info.rank, info.local_rank, info.size, info.local_size) == (5, 1, 8, 4)
    assert (info.address, info.port) == ("a", 77)


def test_srun():
    info = detect_ranks(environment=SLURM)
    assert (info.rank, info.local_rank, info.size, info.local_size) == (3, 1, 5, 2)
    assert info.address == "node02" and FIRST_PORT <= info.port < FIRST_PORT + PORTS
    assert detect_ranks(environment={**SLURM, "SLURM_PROCID": "0"}).port == info.port
    ports = {detect_ranks(environment={**SLURM, "SLURM_STEP_ID": str(step)}).port for step in range(5)}
    assert len(ports) == 5
    assert detect_ranks(environment={**SLURM, "MASTER_ADDR": "10.0.0.1"}).address == "10.0.0.1"
    assert detect_ranks(4567, SLURM).port == 4567


def test_a_job_script_is_no_step_and_one_task_is_alone():
    """A batch script has Slurm's variables of the job; a program that it starts without srun is alone."""
    assert detect_ranks(environment={k: v for k, v in SLURM.items() if k != "SLURM_STEP_ID"}) is None
    assert detect_ranks(environment={**SLURM, "SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("node1", "node1"),
        ("node[1-3]", "node1"),
        ("gpu[03-07,9],cpu1", "gpu03"),
        ("a7,b[1-2]", "a7"),
        ("r[1-2]n[4,5]", "r1n4"),
        ("n[11]-ib,x", "n11-ib"),
    ],
)
def test_first_host(hosts, first):
    assert first_host(hosts) == first


def test_tasks_per_node():
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1] and tasks_per_node("4") == [4]
