"""kill -9 at any instant of a save: the newest whole checkpoint is there, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

ROUNDS = """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    from torch import nn
    from utils.training.engine.checkpoint import CheckpointManager

    torch.set_num_threads(1)
    NUM_ROUNDS, BLOCKING = int(sys.argv[2]), sys.argv[3] == "blocking"
    folder, rng = Path(sys.argv[1]), random.Random(7)
    model = nn.Linear(700, 700)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 700)).sum().backward()
    optimizer.step()

    def train(acknowledge, start):
        manager = CheckpointManager(folder, keep_best_k=1, keep_last_n=2)
        epoch = start
        while True:
            epoch += 1
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(epoch)
            manager.save(model, optimizer, None, epoch, {"val_loss": -epoch}, blocking=BLOCKING)
            done = epoch if BLOCKING else epoch - 1  # a background save is done by the next one
            if done > start:
                os.write(acknowledge, b"%d\\n" % done)

    newest, interrupted = -1, 0
    for _ in range(NUM_ROUNDS):
        if interrupted == 5:
            break
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            train(writer, newest)
        os.close(writer)
        acknowledged = os.read(reader, 20)  # the first save is done
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while part := os.read(reader, 65536):
            acknowledged += part
        os.close(reader)

        interrupted += any(path.suffix == ".partial" for path in folder.iterdir())
        manager = CheckpointManager(folder, keep_best_k=1, keep_last_n=2)
        assert all(path.suffix == ".pt" for path in folder.iterdir()), list(folder.iterdir())
        promised = int(acknowledged.split()[-1])
        state = manager.load(manager.latest())
        assert state["epoch"] >= promised, (state["epoch"], promised)
        assert manager.load()["epoch"] == state["epoch"]
        assert all((w == state["epoch"]).all() for w in state["model_state_dict"].values())
        newest = state["epoch"]
    print(interrupted)
"""


@pytest.mark.parametrize("mode", ["blocking", "background"])
def test_a_killed_writer_costs_nothing_that_was_acknowledged(tmp_path, mode):
    command = [sys.executable, "-c", textwrap.dedent(ROUNDS), str(tmp_path), "60", mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 5  # so many kills really hit a save in the middle
