"""What has no database loads no driver: trainings start sooner, and idle trainers are smaller."""

import subprocess
import sys

import pytest

LOADED = "print(*{'sqlalchemy', 'psycopg'} & set(sys.modules))"


@pytest.mark.parametrize(
    "module",
    ["services.trainer.run.__main__", "services.trainer.worker", "utils.service.clients.scheduler"],
)
def test_no_database_is_imported(module):
    code = f"import sys, {module}; {LOADED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
