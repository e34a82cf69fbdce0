from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import OperationalError

from utils.training import migrations
from utils.training.database import metadata, open_database
from utils.training.migrations.tables import declare_all


@pytest.fixture
def engine(database_url):
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def tables(engine):
    return {name for name in inspect(engine).get_table_names() if name != "alembic_version"}


def test_the_sum_of_all_steps_is_what_the_stores_declare(engine):
    declare_all()
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_every_step_can_be_taken_back_and_again(engine):
    every = tables(engine)
    for revision in [*reversed(migrations.revisions()[:-1]), "base"]:
        migrations.downgrade(engine, revision)
        assert migrations.current(engine) == (None if revision == "base" else revision)
    assert tables(engine) == set()
    migrations.upgrade(engine)
    assert tables(engine) == every


def test_a_database_that_is_up_to_date_is_asked_one_question(engine):
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    open_database(engine)
    assert statements == ["SELECT version_num FROM alembic_version"]


def test_the_numbers_of_the_files_are_the_revisions_in_order(engine):
    with migrations.migrating(engine) as config:
        script = ScriptDirectory.from_config(config)
        known = [step.revision for step in script.walk_revisions()]
    assert tuple(reversed(known)) == migrations.revisions()


def test_a_database_of_a_newer_version_is_refused(engine):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrations.DatabaseVersionError, match="at revision 9999, this code knows"):
        open_database(engine)
    with pytest.raises(migrations.DatabaseVersionError, match="at revision 9999, this code knows"):
        open_database(engine, migrate=False)


def test_an_old_database_is_left_alone_and_refused_where_migrating_is_off(engine):
    migrations.downgrade(engine, "base")
    with pytest.raises(migrations.DatabaseVersionError, match="at revision none"):
        open_database(engine, migrate=False)
    assert tables(engine) == set()


def test_a_server_that_is_away_is_no_empty_database(postgres_url):
    with pytest.raises(OperationalError):
        open_database(postgres_url.replace("test_", "no_such_"))


def test_a_failed_step_leaves_nothing_behind(engine, monkeypatch):
    migrations.downgrade(engine, "base")

    def fail(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
    with pytest.raises(RuntimeError, match="disk is full"):
        migrations.upgrade(engine)
    monkeypatch.undo()
    assert tables(engine) == set()
    migrations.upgrade(engine)
    assert "model" in tables(engine)


def test_foreign_keys_hold_again_after_a_migration(sqlite_url):
    engine = open_database(sqlite_url)
    migrations.downgrade(engine, "base")
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_next_step_is_written_from_what_is_missing(tmp_path):
    copy = tmp_path / "shared"
    shutil.copytree(
        migrations._FOLDER.parents[2], copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    with (copy / "utils/training/model_registry/tables.py").open("a") as file:
        file.write("\nTable('extra', metadata, Column('at', UtcDateTime), Column('v', Real))\n")
    subprocess.run(
        [sys.executable, "-m", "utils.training.migrations", "Extra"],
        check=True,
        cwd=copy,
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
    )
    number = f"{len(migrations.revisions()) + 1:04}"
    (written,) = copy.glob(f"utils/training/migrations/versions/{number}_extra.py")
    assert "sa.Column('at', sa.DateTime(timezone=True), nullable=True)" in written.read_text()
