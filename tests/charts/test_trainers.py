"""Pools of trainers: their queues, GPUs, memory, grace, and their scaling with the queue."""

from __future__ import annotations

from tests.charts.helm import render
from tests.charts.release import Release

GPU = "nvidia.com/gpu"


def variables(workload):
    return {entry["name"]: entry.get("value") for entry in workload.spec["containers"][0]["env"]}


def test_a_pool_is_the_defaults_with_its_own_values_over_them(release_of):
    release = release_of("gpu")
    cpu, gpu, node = (release.workload(f"trainer-{name}") for name in ("cpu", "gpu", "gpu-node"))
    assert variables(cpu)["TRAINING_TRAINER_QUEUES"] == "export"
    assert variables(gpu)["TRAINING_TRAINER_QUEUES"] == "evaluation"
    assert variables(node)["TRAINING_TRAINER_QUEUES"] == "training"
    assert cpu.spec["containers"][0]["image"].endswith("training-engine-trainer:4.0.0")
    assert gpu.spec["containers"][0]["image"].endswith("training-engine-trainer:4.0.0-cuda")
    assert GPU not in cpu.spec["containers"][0]["resources"]["limits"]
    for pool, count, memory in ((gpu, 1, "64Gi"), (node, 8, "900Gi")):
        resources = pool.spec["containers"][0]["resources"]
        assert resources["limits"] == {GPU: count, "memory": memory}
        assert resources["requests"][GPU] == count
        assert pool.spec["tolerations"][0]["key"] == GPU
    assert gpu.spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert node.spec["runtimeClassName"] == "nvidia"
    assert gpu.spec["priorityClassName"] == "loop-training-engine-trainer"
    assert node.spec["priorityClassName"] == "large-training"


def test_a_pool_of_several_nodes_is_one_set_of_named_pods_that_start_together(release_of):
    release = release_of("nodes")
    group = release.workload("trainer-nodes")
    assert group.document["kind"] == "StatefulSet"
    spec = group.document["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (4, "Parallel")
    service = release.named("Service", "trainer-nodes")
    assert spec["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert group.spec["containers"][0]["resources"]["limits"][GPU] == 8
    assert release.workload("trainer-cpu").document["kind"] == "Deployment"
    data = {v["name"]: v for v in group.spec["volumes"]}["data"]
    assert data["persistentVolumeClaim"]["claimName"] == "training-data"  # on every node


def test_a_pool_of_none_stays_a_pool_of_none(release_of):
    cpu = release_of("everything").workload("trainer-cpu")
    assert cpu.document["spec"]["replicas"] == 0


def test_shared_memory_is_memory_and_counts_below_the_limit(release_of):
    for case in ("kind", "gpu"):
        for workload in release_of(case).workloads:
            if not workload.component.startswith("trainer-"):
                continue
            mounts = {
                m["mountPath"]: m["name"] for m in workload.spec["containers"][0]["volumeMounts"]
            }
            (shm,) = [v for v in workload.spec["volumes"] if v["name"] == mounts["/dev/shm"]]
            assert shm["emptyDir"]["medium"] == "Memory"
            limit = workload.spec["containers"][0]["resources"]["limits"]["memory"]
            assert _bytes(shm["emptyDir"]["sizeLimit"]) < _bytes(limit)


def _bytes(quantity):
    units = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_the_grace_fits_a_checkpoint_and_the_cool_down_fits_the_grace(release_of):
    release = release_of("gpu")
    for scaler in release.of("ScaledObject"):
        (pool,) = [
            w for w in release.workloads if w.name == scaler["spec"]["scaleTargetRef"]["name"]
        ]
        checkpoint = int(variables(pool)["TRAINING_TRAINER_GRACE_SECONDS"])
        grace = pool.spec["terminationGracePeriodSeconds"]
        assert checkpoint < grace <= scaler["spec"]["cooldownPeriod"]


def test_keda_counts_running_jobs_too_and_may_scale_to_none(release_of):
    release = release_of("gpu")
    for name, queue in (("gpu", "evaluation"), ("gpu-node", "training")):
        scaler = release.named("ScaledObject", f"trainer-{name}")
        assert scaler["spec"]["minReplicaCount"] == 0
        (trigger,) = scaler["spec"]["triggers"]
        host = "loop-training-engine-scheduler.ml.svc:8000"
        assert trigger["metadata"]["url"] == f"http://{host}/v1/queues/{queue}"
        assert trigger["metadata"]["valueLocation"] == "demand"
        authentication = release.named("TriggerAuthentication", f"trainer-{name}")
        (reference,) = authentication["spec"]["secretTargetRef"]
        assert reference["key"] in release.secret_keys[reference["name"]]
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_a_pool_of_several_queues_is_scaled_by_their_sum(release_of):
    scaler = release_of("everything").named("ScaledObject", "trainer-spot")
    names = [trigger["name"] for trigger in scaler["spec"]["triggers"]]
    assert names == ["training", "evaluation", "export"]
    assert scaler["spec"]["advanced"]["scalingModifiers"]["formula"] == " + ".join(names)


def test_a_pool_may_be_taken_away():
    release = Release(
        render("--set", "trainers.pools.cpu=null,trainers.pools.small.queues={export}")
    )
    pools = {w.component for w in release.workloads if w.component.startswith("trainer-")}
    assert pools == {"trainer-small"}


def test_the_probe_is_the_trainers_own(release_of):
    for workload in [*release_of("gpu").workloads, *release_of("nodes").workloads]:
        if workload.component.startswith("trainer-"):
            (container,) = workload.spec["containers"]
            command = ["python", "-m", "services.trainer.alive"]
            assert container["livenessProbe"]["exec"]["command"] == command
            assert container["readinessProbe"]["exec"]["command"] == [*command, "ready"]
