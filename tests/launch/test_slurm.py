"""slurm.sh with stand-ins for srun and scontrol, inside what sbatch sets."""

import re
from pathlib import Path

import pytest

from ipad_jax.commands.parsing import load_with_leaves
from ipad_jax.commands.train import make_parser
from ipad_jax.run import processes as distributed
from ipad_jax.run.stopwatch import INTERRUPTED

SCRIPT = Path(__file__).parents[2] / "launch" / "slurm.sh"
ARGS = ("--config", "ipad:paper", "--config.data.name=S03", "--config.batch_size=16")


@pytest.fixture
def submit(machine):
    """Runs the script as sbatch does; `status` is what srun comes back with."""
    machine.slurm()

    def run(status=0, **environ):
        machine.answer("srun", (status, ""))
        slurm = {
            "SLURM_JOB_ID": "71",
            "SLURM_SUBMIT_DIR": str(machine.folder),
            "SLURM_CPUS_PER_TASK": "32",
        }
        places = {"WORKDIR": "/shared/runs/S03", "DATA_DIR": "/shared/data"}
        return machine.run(SCRIPT, *ARGS, **slurm, **places, **environ)

    return run


def test_srun_is_given_the_command_on_every_node(submit, machine):
    done = submit()
    assert done.returncode == 0, done.stderr
    ((_, folder, *words),) = machine.calls("srun")
    assert words == [
        "--cpus-per-task=32",
        "--kill-on-bad-exit=0",
        "--wait=0",
        ".venv/bin/ipad-jax",
        "train",
        *ARGS,
        "--config.data.data_dir=/shared/data",
        "--workdir=/shared/runs/S03",
    ]
    assert folder == str(machine.folder)
    assert machine.environment()["JAX_PLATFORMS"] == "cuda,cpu"
    assert machine.environment()["JAX_COMPILATION_CACHE_DIR"] == "/shared/runs/S03/xla_cache"
    assert machine.argv("scontrol") == []


def test_train_takes_what_the_script_adds(submit, machine):
    submit()
    _, *words = machine.argv("srun")[0][3:]
    args = make_parser().parse_args(words[1:])
    assert args.workdir == "/shared/runs/S03"
    data = load_with_leaves(args.config, args.leaves).data
    assert (data.data_dir, data.name) == ("/shared/data", "S03")


@pytest.mark.parametrize("status", sorted(INTERRUPTED.values()))
def test_an_interrupted_run_queues_again(submit, machine, status):
    assert submit(status).returncode == 0
    assert machine.argv("scontrol") == [["requeue", "71"]]


@pytest.mark.parametrize("status", [1, 2, 137])
def test_a_failed_run_does_not(submit, machine, status):
    assert submit(status).returncode == status
    assert machine.argv("scontrol") == []


def test_the_second_start_says_the_same(submit, machine):
    submit(143)
    submit()
    first, second = machine.argv("srun")
    assert first == second


def test_without_a_set_up_it_says_so_before_srun(submit, machine):
    done = submit(CLONE=str(machine.host))
    assert done.returncode == 2
    assert "submit from the clone" in done.stderr
    assert machine.calls() == []


def test_sbatch_is_told_to_warn_and_to_queue_again():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE))
    assert "requeue" in options
    assert options["open-mode"] == "append"  # the log of the start before stays
    name, seconds = options["signal"].split("@")  # without B: all processes get it, not the script
    assert name == "TERM"
    assert int(seconds) >= 120  # Slurm may be a minute late, and saving takes time
    assert options["ntasks-per-node"] == "1"


def test_one_task_a_node_has_all_its_gpus(submit, machine):
    submit()
    srun = {
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "gpu[07,12]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
    }
    found = distributed.arguments(machine.environment() | srun)
    assert found is not None
    assert found["coordinator_address"].startswith("gpu07:")
    assert (found["num_processes"], found["process_id"]) == (2, 1)
    assert found["local_device_ids"] is None
