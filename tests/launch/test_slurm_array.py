"""slurm_array.sh with stand-ins for srun and scontrol, inside what sbatch sets in each job of an array."""

from pathlib import Path

import pytest

from ipad_jax.commands.reproduce import make_parser
from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.reproduce.mad_table import mad_table
from ipad_jax.reproduce.methods import Setting
from ipad_jax.reproduce.plan import jobs_of, shares
from ipad_jax.run.stopwatch import INTERRUPTED

SCRIPT = Path(__file__).parents[2] / "launch" / "slurm_array.sh"
ARGS = ("--table", "mad", "--data", "mad", "--seeds", "0")


@pytest.fixture
def submit(machine):
    """Runs the script as a job of `sbatch --array=0-19` does; `status` is what srun comes back with."""
    machine.slurm()

    def run(task="7", status=0, **environ):
        machine.answer("srun", (status, ""))
        slurm = {"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "71", "SLURM_ARRAY_TASK_ID": task}
        slurm |= {"SLURM_SUBMIT_DIR": str(machine.folder), "SLURM_CPUS_PER_TASK": "8"}
        places = {"WORKDIR": "/shared/tables", "DATA_DIR": "/shared/data", "SHARES": "20"}
        return machine.run(SCRIPT, *ARGS, **slurm | places | environ)

    return run


def test_each_job_has_its_own_class(submit, machine):
    for task in ("0", "7", "19"):
        assert submit(task).returncode == 0
    setting = Setting("mad", SIM_CLASSES, (0,), variant="")
    divided = shares(jobs_of(mad_table(setting)), 20)
    for task, words in zip((0, 7, 19), machine.argv("srun"), strict=True):
        assert words[:3] == ["--cpus-per-task=8", ".venv/bin/ipad-jax", "reproduce"]
        args = make_parser().parse_args(words[3:])
        assert (args.index, args.of, args.table, args.data) == (task, 20, "mad", "mad")
        assert (args.workdir, args.data_dir, args.seeds) == ("/shared/tables", "/shared/data", [0])
        classes = {cell.scene for job in divided[args.index] for cell in job.cells}
        assert classes == {SIM_CLASSES[task]}
    assert machine.environment()["JAX_PLATFORMS"] == "cuda,cpu"
    assert machine.argv("scontrol") == []


@pytest.mark.parametrize("status", sorted(INTERRUPTED.values()))
def test_an_interrupted_job_queues_again_and_no_other_of_its_array(submit, machine, status):
    assert submit(status=status).returncode == 0
    assert machine.argv("scontrol") == [["requeue", "71_7"]]


@pytest.mark.parametrize("status", [1, 2, 137])
def test_a_failed_job_does_not(submit, machine, status):
    assert submit(status=status).returncode == status
    assert machine.argv("scontrol") == []


def test_outside_an_array_it_says_how_it_is_submitted(submit, machine):
    done = submit(SLURM_ARRAY_TASK_ID="")
    assert done.returncode != 0
    assert "sbatch --array=0-19" in done.stderr
    assert machine.calls() == []
