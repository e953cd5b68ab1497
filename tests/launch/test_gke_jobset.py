"""The JobSets that the GKE scripts hand to kubectl: against the published schema, and what they mean."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ipad_jax.run import processes as distributed
from ipad_jax.run.stopwatch import INTERRUPTED

LAUNCH = Path(__file__).parents[2] / "launch"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "jobset_v1alpha2.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ENVIRON = {
    "NAME": "s01",
    "IMAGE": "registry/ipad:1",
    "WORKDIR": "gs://bucket/runs/S01",
    "DATA_DIR": "gs://bucket/data",
}
ARGS = (
    "--config",
    "ipad:paper",
    "--config.eval.components={'psnr_mean': 1.0}",
    "--config.freeze=()",
)
KINDS = ("tpu", "gpu")


@pytest.fixture
def jobset(machine):
    """Runs a script and reads what kubectl was given."""
    machine.stand_in("kubectl")

    def run(kind, **environ):
        script = LAUNCH / f"gke_jobset_{kind}.sh"
        done = machine.run(script, *ARGS, **ENVIRON, **environ)
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(machine.stdin())

    return run


def job(jobset):
    """The Job's specification of the one replicated job."""
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def container(jobset):
    (found,) = job(jobset)["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queue", ["", "research"])
def test_it_is_a_jobset_by_the_published_schema(jobset, kind, queue):
    made = jobset(kind, QUEUE=queue)
    VALIDATOR.validate(made)
    assert made["metadata"]["labels"].get("kueue.x-k8s.io/queue-name", "") == queue
    assert made["metadata"]["namespace"] == "default"


def test_the_schema_finds_what_kubernetes_would_refuse(jobset):
    def misspell(made):
        made["spec"]["failurePolicy"]["maxRestart"] = 1

    def quote_a_number(made):
        job(made)["parallelism"] = "4"

    def bare_number(made):
        container(made)["env"][0]["value"] = 2

    def unknown_action(made):
        made["spec"]["failurePolicy"]["rules"][0]["action"] = "Restart"

    def no_name(made):
        del made["spec"]["replicatedJobs"][0]["name"]

    good = jobset("gpu")
    for breaks in (misspell, quote_a_number, bare_number, unknown_action, no_name):
        made = copy.deepcopy(good)
        breaks(made)
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(made)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_arrives_as_it_was_typed(jobset, kind):
    assert container(jobset(kind))["args"] == [
        "train",
        *ARGS,
        "--config.data.data_dir=gs://bucket/data",
        "--workdir=gs://bucket/runs/S01",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_made_once_and_nothing_else_is_asked_of_the_cluster(jobset, kind, machine):
    assert jobset(kind) == jobset(kind)
    assert machine.argv("kubectl") == [["create", "--filename=-"]] * 2  # the second: already exists


@pytest.mark.parametrize("kind", KINDS)
def test_interruptions_start_again_and_failures_are_counted(jobset, kind):
    made = jobset(kind, MAX_RESTARTS="3")
    policy = made["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert policy["restartStrategy"] == "BlockingRecreate"
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    by_exit, by_condition = job(made)["podFailurePolicy"]["rules"]
    assert by_exit["onExitCodes"]["values"] == sorted(INTERRUPTED.values())
    assert by_exit["onExitCodes"]["containerName"] == container(made)["name"]
    assert by_condition["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    # what Kubernetes asks for where there is a podFailurePolicy, and one failure ends all
    assert job(made)["template"]["spec"]["restartPolicy"] == "Never"
    assert job(made)["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("topology", "chips", "nodes"), [("4x4", "4", 4), ("2x4", "8", 1), ("2x2x4", "4", 4)]
)
def test_a_slice_has_as_many_pods_as_hosts(jobset, topology, chips, nodes):
    made = jobset("tpu", TOPOLOGY=topology, CHIPS_PER_NODE=chips, ACCELERATOR="tpu-v5p-slice")
    assert job(made)["parallelism"] == job(made)["completions"] == nodes
    assert job(made)["completionMode"] == "Indexed"
    assert container(made)["resources"]["limits"] == {"google.com/tpu": int(chips)}
    assert job(made)["template"]["spec"]["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": topology,
    }
    placement = made["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/exclusive-topology"]
    assert placement == "cloud.google.com/gke-nodepool"


def environment(jobset, index):
    """A pod's variables, with the index that Kubernetes writes into its annotation."""
    annotation = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    found = {}
    for variable in container(jobset)["env"]:
        if "valueFrom" in variable:
            assert variable["valueFrom"] == {"fieldRef": {"fieldPath": annotation}}
            found[variable["name"]] = str(index)
        else:
            found[variable["name"]] = variable["value"]
    return found


def test_tpu_pods_find_each_other_by_what_gke_tells_them(jobset):
    found = environment(jobset("tpu"), 0)
    assert distributed.arguments(found) == {}  # JAX's own detection
    assert found["JAX_PLATFORMS"] == "tpu,cpu"
    assert found["JAX_COMPILATION_CACHE_DIR"] == "gs://bucket/runs/S01/xla_cache"


def test_gpu_pods_find_the_first_one_by_its_name(jobset):
    made = jobset("gpu", NODES="3", GPUS_PER_NODE="8", PORT="1234")
    name, (replicated,) = made["metadata"]["name"], made["spec"]["replicatedJobs"]
    assert made["spec"]["network"]["enableDNSHostnames"]
    for index in range(3):
        found = distributed.arguments(environment(made, index))
        assert found is not None
        assert found["coordinator_address"] == f"{name}-{replicated['name']}-0-0.{name}:1234"
        assert (found["num_processes"], found["process_id"]) == (3, index)
        assert found["local_device_ids"] is None  # all of the node's
    assert container(made)["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert {"containerPort": 1234} in container(made)["ports"]


def test_one_gpu_node_needs_nobody(jobset):
    assert distributed.arguments(environment(jobset("gpu", NODES="1"), 0)) is None
