from __future__ import annotations

import multiprocessing
import time

from utils.training.model_registry import ConflictError, ModelRegistry

PROCESSES = 4
ROUNDS = 40


def promote(location, number, model_ids, barrier, results):
    """Promote this process' model in each round; odd processes compare and set."""
    registry = ModelRegistry(location)
    done = refused = 0
    for _ in range(ROUNDS):
        barrier.wait(timeout=120)
        expected = None
        if number % 2:
            current = registry.get_model(tag="production", name="digits")
            expected = current.model_id if current else 0
        try:
            registry.promote_model(
                model_ids[number], "production", expected_current=expected, actor=str(number)
            )
            done += 1
        except ConflictError:
            refused += 1
    registry.close()
    results.put((done, refused))


def test_promotions_at_once_leave_one_production_version_and_a_whole_audit(database_url):
    registry = ModelRegistry(database_url)
    model_ids = [
        registry.register_model("digits", str(n), "model.pt", "vision_classification")
        for n in range(PROCESSES)
    ]
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    workers = [
        context.Process(target=promote, args=(database_url, n, model_ids, barrier, results))
        for n in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    seen = set()
    while any(worker.is_alive() for worker in workers):
        seen.add(len(registry.list_models(name="digits", tag="production").items))
        time.sleep(0.02)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    assert seen <= {0, 1}

    counts = [results.get() for _ in workers]
    done = sum(count[0] for count in counts)
    assert done + sum(count[1] for count in counts) == PROCESSES * ROUNDS
    audit = registry.history("digits")[::-1]
    assert [change.sequence for change in audit] == list(range(1, done + 1))
    production = None
    for change in audit:
        assert change.replaced_model_id == (None if change.model_id == production else production)
        production = change.model_id
    assert registry.get_model(tag="production").model_id == production
    assert [change.at for change in audit] == sorted(change.at for change in audit)
    registry.close()


def register(location, barrier):
    """Register models without versions, as several trainings that end at once do."""
    with ModelRegistry(location) as registry:
        barrier.wait(timeout=120)
        for _ in range(ROUNDS // PROCESSES):
            registry.register_model("new", None, "model.pt", "vision_classification")


def test_registrations_at_once_without_versions_are_numbered_without_a_gap(database_url):
    registry = ModelRegistry(database_url)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    workers = [
        context.Process(target=register, args=(database_url, barrier)) for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    found = sorted(int(item.version) for item in registry.list_models(name="new").items)
    assert found == list(range(1, ROUNDS + 1))
    registry.close()
