"""Who belongs to a run, and how its processes meet, talk and leave: real processes on loopback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipad_jax.run.cluster import arguments, first_host, own_share

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "launch" / "local_processes.py"
BY_HAND = {
    "IPAD_JAX_COORDINATOR": "10.0.0.2:8476",
    "IPAD_JAX_NUM_PROCESSES": "4",
    "IPAD_JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "gpu-[007-009,012],login",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}


def test_alone_by_default_and_on_request():
    assert arguments({}) is None
    assert arguments({**BY_HAND, "IPAD_JAX_DISTRIBUTED": "off"}) is None
    assert arguments({**BY_HAND, "IPAD_JAX_NUM_PROCESSES": "1", "IPAD_JAX_PROCESS_ID": "0"}) is None
    assert arguments({"IPAD_JAX_DISTRIBUTED": "auto"}) == {}


def test_the_three_variables_leave_nothing_to_find():
    assert arguments({**SLURM, **BY_HAND}) == {
        "coordinator_address": "10.0.0.2:8476",
        "num_processes": 4,
        "process_id": 3,
        "local_device_ids": None,
        "cluster_detection_method": "deactivate",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"IPAD_JAX_PROCESS_ID": ""}, "IPAD_JAX_PROCESS_ID is not set, but IPAD_JAX_COORD.* is"),
        ({"IPAD_JAX_COORDINATOR": "host"}, "IPAD_JAX_COORDINATOR='host' is not host:port"),
        ({"IPAD_JAX_NUM_PROCESSES": "two"}, r"IPAD_JAX_NUM_PROCESSES='two' must be a whole number"),
        ({"IPAD_JAX_PROCESS_ID": "4"}, r"IPAD_JAX_PROCESS_ID=4 must be in 0\.\.3"),
        ({"IPAD_JAX_DISTRIBUTED": "yes"}, "IPAD_JAX_DISTRIBUTED='yes': set auto, off or nothing"),
    ],
)
def test_variables_that_cannot_be_say_so(changes, message):
    with pytest.raises(ValueError, match=message):
        arguments({**BY_HAND, **changes})


def test_slurm_gives_one_task_a_node_all_its_devices():
    found = arguments(SLURM)
    assert found["coordinator_address"] == "gpu-007:61441"
    assert (found["num_processes"], found["process_id"]) == (4, 2)
    assert found["local_device_ids"] is None


@pytest.mark.parametrize(
    ("changes", "local"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)", "SLURM_LOCALID": "5"}, [5]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_LOCALID": "1"}, [1]),
        # bound by Slurm: the only device that is seen has number 0, whatever the task's
        ({"SLURM_STEP_TASKS_PER_NODE": "8", "CUDA_VISIBLE_DEVICES": "5"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "11(x2)", "SLURM_LOCALID": "3"}, [3]),
    ],
)
def test_slurm_shares_a_nodes_devices_among_its_tasks(changes, local):
    assert arguments({**SLURM, **changes})["local_device_ids"] == local


@pytest.mark.parametrize("nodes", ["gpu1", "gpu1,gpu2", "gpu[1-4]", "gpu[1,3-4],x", "gpu[1-2]"])
def test_slurms_first_node_is_the_coordinator(nodes):
    found = arguments({**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert found["coordinator_address"].startswith("gpu1:")


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("rack[1-2]node[1-4]", "rack1node1"),
        ("host-[3-5,9]-x[1-2]", "host-3-x1"),
        ("r[2]n[07-12,20].cluster,login", "r2n07.cluster"),
        ("a[1,2]b,c[3-4]", "a1b"),
    ],
)
def test_each_bracket_of_slurms_node_list_counts(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize("nodes", ["", ",a", "gpu[1", "gpu[1-[2]]", "gpu[000x133]", "gpu[]", "a b"])
def test_a_node_list_of_an_unknown_form_is_refused(nodes):
    with pytest.raises(ValueError, match=r"SLURM_STEP_NODELIST=.*Set IPAD_JAX_COORDINATOR"):
        first_host(nodes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NTASKS", "many"), ("PROCID", "-1"), ("JOB_ID", "7_2"), ("LOCALID", "one")],
)
def test_a_slurm_variable_that_is_no_number_is_named(name, value):
    changes = {f"SLURM_{name}": value, "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    with pytest.raises(
        ValueError, match=f"^SLURM_{name}='{value}' must be a whole number, 0 or more"
    ):
        arguments({**SLURM, **changes})


def test_a_batch_script_or_one_task_is_alone():
    assert arguments({**SLURM, "SLURM_NTASKS": "1"}) is None
    assert arguments({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}) is None


def test_tpu_hosts_are_left_to_jax():
    assert arguments({"TPU_WORKER_HOSTNAMES": "a,b"}) == {}  # GKE
    assert arguments({"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert arguments({"MEGASCALE_NUM_SLICES": "2"}) == {}
    assert arguments({"TPU_ML_PLATFORM": "JAX"}) == {}  # a Cloud TPU VM
    assert arguments({"TPU_ML_PLATFORM": "JAX", "TPU_SKIP_MDS_QUERY": "1"}) is None  # no chips
    assert arguments({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}) is None


def test_scenes_are_shared_out_without_a_word():
    scenes = ["S01", "S02", "S03", "S04", "S05"]
    shares = [own_share(scenes, {**BY_HAND, "IPAD_JAX_PROCESS_ID": str(i)}) for i in range(4)]
    assert shares == [["S01", "S05"], ["S02"], ["S03"], ["S04"]]
    assert own_share(scenes, {}) == scenes


def start(*command, processes=2, logs, devices=1, timeout=60, **options):
    """The launcher as a process of its own."""
    arguments = ["--processes", str(processes), "--devices", str(devices), "--logs", str(logs)]
    return subprocess.Popen(
        [sys.executable, str(LAUNCHER), *arguments, "--grace", "20", "--", *command],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"IPAD_JAX_TIMEOUT": str(timeout)},
        **options,
    )


SLEEPER = """
import os, signal, sys, time
index = int(os.environ["IPAD_JAX_PROCESS_ID"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("ready", index, os.environ["JAX_NUM_CPU_DEVICES"], flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(int(sys.argv[2 + index]))
"""


def test_the_launcher_gives_numbers_logs_and_the_worst_status(tmp_path):
    for statuses, worst in {("0", "0"): 0, ("0", "143"): 143, ("143", "7"): 7}.items():
        run = start(sys.executable, "-c", SLEEPER, "0", *statuses, devices=3, logs=tmp_path)
        out, _ = run.communicate(timeout=60)
        assert run.returncode == worst
        assert out.startswith("ready 0 3\n")  # process 0 alone is shown
        assert (tmp_path / "1.log").read_text() == "ready 1 3\n"
        assert f"exit statuses 0: {statuses[0]}, 1: {statuses[1]}" in out


def test_the_launcher_passes_sigterm_on_to_all(tmp_path):
    run = start(sys.executable, "-c", SLEEPER, "60", "0", "0", logs=tmp_path)
    wait_for(lambda: all("ready" in log(tmp_path, i) for i in (0, 1)))
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "0: 143, 1: 143" in out


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def log(folder, index):
    path = folder / f"{index}.log"
    return path.read_text() if path.exists() else ""


TALK = """
import os, sys, types
from ipad_jax import (main)
from ipad_jax.run import processes as distributed

def command(args):
    argv, index = args.ends, int(os.environ["IPAD_JAX_PROCESS_ID"])
    if index == 0:
        distributed.tell("word", "hello")
        print("said")
        distributed.ask("heard")  # else its failure may end the other one first
    else:
        print("not heard")
        print(distributed.ask("word"), file=sys.stderr)
        distributed.tell("heard", "yes")
    if argv[index] == "fail":
        raise ValueError("no such scene")
    if argv[index] == "wait":
        distributed.ask("never told")
    return int(argv[index])

parser = types.SimpleNamespace(parse_args=lambda argv: types.SimpleNamespace(ends=argv))
train = types.SimpleNamespace(make_parser=lambda: parser, run=command)  # imported in no time
sys.modules["ipad_jax.commands.train"] = train
sys.exit(main.main(["train", *sys.argv[1:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "status", "told"),
    [
        (("0", "0"), 0, ""),
        (("143", "143"), 143, ""),
        (("fail", "wait"), 1, "process 0 of 2 failed: no such scene"),
        (("wait", "fail"), 1, "process 1 of 2 failed: no such scene"),
    ],
)
def test_processes_talk_and_leave_together(ends, status, told, tmp_path):
    run = start(sys.executable, "-c", TALK, *ends, logs=tmp_path)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == status, out + log(tmp_path, 1)
    assert f"exit statuses 0: {status}, 1: {status}" in out
    assert "said" in out
    assert "hello" in log(tmp_path, 1)
    assert "not heard" not in log(tmp_path, 1)
    if told:
        waiting = ends.index("wait")
        assert f"ipad-jax train: {told}" in log(tmp_path, waiting)
        assert "ipad-jax train: no such scene" in log(tmp_path, 1 - waiting)


TRAIN = ["train", "--config", "factory:tiny", "--workdir", "never_made"]


@pytest.mark.slow
def test_a_coordinator_that_is_not_there_is_named(tmp_path):
    address = "127.0.0.1:9"  # discard: nobody listens
    variables = {"IPAD_JAX_COORDINATOR": address, "IPAD_JAX_NUM_PROCESSES": "2"}
    variables |= {"IPAD_JAX_PROCESS_ID": "1", "IPAD_JAX_TIMEOUT": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "ipad_jax.main", *TRAIN],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert f"the 2 processes have not met at {address} within 1 s" in run.stderr
    assert "nothing answers there" in run.stderr


def test_half_set_variables_are_refused_by_the_command(monkeypatch, capsys):
    from ipad_jax.main import main

    monkeypatch.setenv("IPAD_JAX_COORDINATOR", "10.0.0.2:8476")
    assert main(TRAIN) == 1
    assert "IPAD_JAX_NUM_PROCESSES, IPAD_JAX_PROCESS_ID is not set" in capsys.readouterr().err
