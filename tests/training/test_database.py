from __future__ import annotations

import gc
import math
import multiprocessing
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    event,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from utils.training.database import (
    Json,
    Real,
    UtcDateTime,
    conflict_insert,
    decode_cursor,
    encode_cursor,
    from_json,
    open_database,
    reading,
    to_json,
)
from utils.training.database.__main__ import main
from utils.training.database.prepared import Prepared
from utils.training.migrations import DatabaseVersionError

SHARED = Path(__file__).parents[2] / "shared"

things = Table(
    "thing",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", Real),
    Column("document", Json),
    Column("time", UtcDateTime),
)


@pytest.fixture
def engine(database_url):
    engine = open_database(database_url)
    things.metadata.create_all(engine)
    yield engine
    engine.dispose()


def stored(engine, **values):
    with engine.begin() as connection:
        connection.execute(insert(things), values)
        return connection.execute(select(things)).one()


@pytest.mark.parametrize("number", [0.1, -0.0, 1e308, 5e-324, math.inf, -math.inf])
def test_numbers_come_back_as_they_went_in(engine, number):
    assert stored(engine, number=number).number == number


def test_nan_is_kept_and_sorts_above_every_number(engine):
    nan = math.nan
    assert math.isnan(stored(engine, number=nan).number)
    with engine.begin() as connection:
        connection.execute(insert(things), [{"number": 1.0}, {"number": math.inf}])
        ordered = connection.scalars(select(things.c.number).order_by(things.c.number)).all()
        below = connection.scalars(select(things.c.number).where(things.c.number < nan)).all()
    assert ordered[:2] == [1.0, math.inf]
    assert math.isnan(ordered[2])
    assert sorted(below) == [1.0, math.inf]


def test_a_missing_number_stays_missing(engine):
    assert stored(engine, number=None).number is None


def test_json_keeps_order_nesting_and_what_is_not_finite(engine):
    document = {"b": [1, {"x": math.inf, "y": -math.inf}], "a": None, "ü": "ß\0", "c": 0.5}
    found = stored(engine, document=document).document
    assert found == document
    assert list(found) == ["b", "a", "ü", "c"]
    assert math.isnan(stored_nan(engine)["loss"])


def stored_nan(engine):
    with engine.begin() as connection:
        connection.execute(insert(things), {"id": 77, "document": {"loss": math.nan}})
        return connection.scalar(select(things.c.document).where(things.c.id == 77))


def test_arrays_and_paths_become_plain_json():
    document = {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x/y"), "d": np.float64("nan")}
    found = from_json(to_json(document))
    assert math.isnan(found.pop("d"))
    assert found == {"a": 0.5, "b": [0, 1], "c": "x/y"}
    assert math.isnan(from_json(to_json([np.float32("nan")]))[0])


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, {1, 2}])
def test_what_json_has_not_is_a_value_error(value):
    with pytest.raises(ValueError, match="JSON"):
        to_json({"value": value})


def test_times_come_back_in_utc_whatever_zone_they_came_in(engine):
    time = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    found = stored(engine, time=time).time
    assert found == time
    assert found.utcoffset() == timedelta(0)
    with engine.begin() as connection:
        connection.execute(insert(things), {"id": 9, "time": datetime(2026, 1, 1, 12)})  # noqa: DTZ001
        naive = connection.scalar(select(things.c.time).where(things.c.id == 9))
    assert naive == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert stored_none(engine) is None


def stored_none(engine):
    with engine.begin() as connection:
        connection.execute(insert(things), {"id": 10, "time": None})
        return connection.scalar(select(things.c.time).where(things.c.id == 10))


def test_conflicting_inserts_can_be_left_out(engine):
    statement = conflict_insert(engine, things).values(id=1).on_conflict_do_nothing()
    with engine.begin() as connection:
        assert connection.scalars(statement.returning(things.c.id)).all() == [1]
        assert connection.scalars(statement.returning(things.c.id)).all() == []


def test_foreign_keys_hold(database_url):
    with open_database(database_url).connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text("INSERT INTO run_tag (run_id, name, value) VALUES (1, 'a', 'b')"))


def test_a_reader_is_not_kept_waiting_by_a_writer(engine):
    with engine.begin() as writer:
        writer.execute(insert(things), {"id": 1})
        with reading(engine) as reader:
            assert reader.scalar(select(func.count()).select_from(things)) == 0
    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(things)) == 1


def test_threads_that_write_at_once_wait_for_each_other(engine):
    with engine.begin() as connection:
        connection.execute(insert(things), {"id": 1, "number": 0})

    def add():
        for _ in range(25):
            with engine.begin() as connection:
                query = select(things.c.number).with_for_update()
                number = connection.scalar(query)
                connection.execute(things.update().values(number=number + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(select(things.c.number)) == 100


def test_a_forked_child_takes_its_own_connection(engine):
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    child = os.fork()
    if child == 0:
        try:
            with engine.begin() as connection:
                connection.execute(insert(things), {"id": 5})
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with reading(engine) as connection:
        assert connection.scalar(select(things.c.id)) == 5


def test_a_server_that_was_restarted_is_not_noticed(postgres, postgres_url):
    engine = open_database(postgres_url)
    with reading(engine) as first, reading(engine) as second:
        assert first.scalar(text("SELECT 1")) == second.scalar(text("SELECT 1"))
    postgres.stop()
    postgres.start()
    with reading(engine) as first, engine.begin() as second:
        assert first.scalar(text("SELECT 2")) == second.scalar(text("SELECT 2"))
    engine.dispose()


def test_an_idle_connection_costs_no_round_trip(postgres_url):
    engine = open_database(postgres_url)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
        assert connection.connection.dbapi_connection.autocommit
    assert statements == ["SELECT 1"]
    engine.dispose()


def test_a_dropped_engine_closes_its_connections(postgres_url, recwarn):
    engine = open_database(postgres_url)
    with reading(engine) as connection:
        driver = connection.connection.dbapi_connection
    del connection, engine
    gc.collect()
    assert driver.closed
    assert not recwarn


# Prepared statements


def test_a_prepared_statement_gives_what_a_full_execution_gives(engine):
    row = {
        "id": 3,
        "number": math.inf,
        "document": {"deep": [math.inf, "ü"]},
        "time": datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    }
    put = Prepared(insert(things).returning(things.c.time, things.c.id), list(row))
    find = Prepared(select(things).where(things.c.id >= bindparam("least")).limit(5))
    with engine.begin() as connection:
        (returned,) = put.rows(connection, row)
        ordinary = connection.execute(select(things)).mappings().one()
        for _ in range(2):
            assert find.rows(connection, {"least": 3}) == [dict(ordinary)]
        assert find.rows(connection, {"least": 4}) == []
    assert returned == {"time": row["time"], "id": 3}
    assert dict(ordinary) == row


def test_a_prepared_statement_runs_for_many_rows(engine):
    rows = [{"id": number, "number": math.nan} for number in range(10)]
    with engine.begin() as connection:
        Prepared(insert(things), ["id", "number"]).run_many(connection, rows)
        numbers = connection.scalars(select(things.c.number)).all()
    assert len(numbers) == 10
    assert all(map(math.isnan, numbers))


def test_the_errors_of_a_prepared_statement_are_sqlalchemys(engine):
    put = Prepared(insert(things).returning(things.c.id), ["id"])
    with engine.begin() as connection:
        put.rows(connection, {"id": 1})
    with pytest.raises(IntegrityError, match="INSERT INTO thing"), engine.begin() as connection:
        put.rows(connection, {"id": 1})
    put = Prepared(insert(things), ["id"])
    with pytest.raises(IntegrityError), engine.begin() as connection:
        put.run_many(connection, [{"id": 2}, {"id": 2}])


def test_a_connection_that_is_lost_in_use_is_given_up(postgres_url):
    engine = open_database(postgres_url)
    find = Prepared(select(literal(1).label("one")))
    terminate = text("SELECT pg_terminate_backend(:victim, 10000)")  # waits for it, milliseconds
    with reading(engine) as connection:
        victim = connection.scalar(text("SELECT pg_backend_pid()"))
        with reading(engine) as other:
            other.execute(terminate, {"victim": victim})
        with pytest.raises(OperationalError):
            find.rows(connection, {})
    with reading(engine) as connection:
        assert find.rows(connection, {}) == [{"one": 1}]
    engine.dispose()


@pytest.mark.parametrize(
    "execute",
    [
        lambda connection, statement: Prepared(statement).rows(connection, {}),
        lambda connection, statement: connection.execute(statement),
    ],
    ids=["prepared", "ordinary"],
)
def test_a_closed_connection_is_replaced_for_the_next_user(postgres_url, execute):
    engine = open_database(postgres_url)
    statement = select(literal(1).label("one"))
    with engine.connect() as connection:
        connection.connection.dbapi_connection.close()
        with pytest.raises(OperationalError) as caught:
            execute(connection, statement)
        assert caught.value.connection_invalidated
    with engine.begin() as connection:
        assert connection.scalar(statement) == 1
    engine.dispose()


def test_a_connection_in_the_middle_of_an_answer_is_closed(postgres_url):
    engine = open_database(postgres_url)
    proxy = engine.raw_connection()
    driver = proxy.driver_connection
    driver.pgconn.send_query(b"SELECT pg_sleep(10)")
    proxy.close()
    assert driver.closed
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_a_forgotten_transaction_is_rolled_back_before_the_next_user(postgres_url):
    engine = open_database(postgres_url)
    proxy = engine.raw_connection()
    proxy.cursor().execute("BEGIN")
    proxy.cursor().execute("CREATE TABLE forgotten (id INT)")
    driver = proxy.driver_connection
    proxy.close()
    assert driver.info.transaction_status == 0
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT to_regclass('forgotten')")) is None
    engine.dispose()


# Locations


@pytest.mark.parametrize(
    "location", ["store.db", Path("folder/new/store.db"), "sqlite:///store.db", ":memory:"]
)
def test_paths_and_sqlite_urls_are_sqlite(location):
    engine = open_database(location)
    assert engine.dialect.name == "sqlite"
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM model")).scalar() == 0


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_spelling_of_a_postgres_url_is_psycopg(postgres_url, scheme):
    engine = open_database(postgres_url.replace("postgresql", scheme, 1))
    assert engine.dialect.driver == "psycopg"
    engine.dispose()


@pytest.mark.parametrize("location", ["mysql://root:hunter2@host/db", "", "http://x"])
def test_any_other_location_is_refused_without_telling_its_password(location):
    with pytest.raises(ValueError, match="allowed is a path or sqlite") as caught:
        open_database(location)
    assert "hunter2" not in str(caught.value)


def test_an_engine_is_shared(sqlite_url):
    engine = open_database(sqlite_url)
    assert open_database(engine) is engine


def test_what_lies_in_memory_is_one_database_for_all_threads():
    engine = open_database(":memory:")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (id INTEGER)"))
    counts = []

    def count():
        with reading(engine) as connection:
            counts.append(connection.scalar(text("SELECT count(*) FROM seen")))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [0, 0, 0]


def test_cursors_carry_their_keys():
    assert decode_cursor(encode_cursor(0.5, "a", 7), float, str, int) == (0.5, "a", 7)
    assert decode_cursor(encode_cursor(math.inf, 1), float, int) == (math.inf, 1)


@pytest.mark.parametrize("cursor", ["", "x", "{}", "!!!!", encode_cursor("a"), encode_cursor(1, 2)])
def test_a_cursor_of_another_list_is_refused(cursor):
    with pytest.raises(ValueError, match="is not one that a page"):
        decode_cursor(cursor, int)


def open_and_write(location, barrier, number):
    barrier.wait(timeout=60)
    engine = open_database(location)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO run (name, config, notes, status, content_digest, created_at)"
                " VALUES (:name, '{}', '', 'running', '', '2026-01-01 00:00:00')"
            ),
            {"name": str(number)},
        )
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_many_processes_may_open_a_fresh_database_at_once(kind, tmp_path, request):
    if kind == "sqlite":
        location = str(tmp_path / "fresh.db")
    else:
        location = request.getfixturevalue("postgres").create_database("fresh")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(5)
    workers = [
        context.Process(target=open_and_write, args=(location, barrier, number))
        for number in range(5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 5
    engine = open_database(location)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM run")) == 5
    engine.dispose()


def test_the_command_upgrades_tells_and_downgrades(tmp_path, capsys):
    location = str(tmp_path / "store.db")
    main(["current", location])
    main(["upgrade", location])
    main(["downgrade", location, "base"])
    first, second, third = capsys.readouterr().out.split()
    assert (first, third) == ("empty", "empty")
    assert second >= "0001"


def test_the_command_reads_the_location_from_the_environment(tmp_path, capsys, monkeypatch):
    url = tmp_path / "url"
    url.write_text(f"{tmp_path / 'store.db'}\n")
    with pytest.raises(SystemExit):
        main(["upgrade"])
    monkeypatch.setenv("TRAINING_DATABASE_URL_FILE", str(url))
    main(["upgrade"])
    main(["downgrade", "base"])
    monkeypatch.delenv("TRAINING_DATABASE_URL_FILE")
    monkeypatch.setenv("TRAINING_DATABASE_URL", url.read_text().strip())
    main(["current"])
    first, *others = capsys.readouterr().out.split()
    assert first >= "0001"
    assert others == ["empty", "empty"]


def test_the_command_waits_until_somebody_has_upgraded(tmp_path, capsys):
    location = str(tmp_path / "store.db")
    with pytest.raises(DatabaseVersionError):
        main(["wait", "--patience", "0", location])
    command = [sys.executable, "-m", "utils.training.database"]
    paths = os.environ | {"PYTHONPATH": str(SHARED)}
    waiter = subprocess.Popen([*command, "wait", location], stderr=subprocess.PIPE, env=paths)
    assert b"Not yet" in waiter.stderr.readline()
    main(["upgrade", location])
    assert waiter.wait(60) == 0
    waiter.stderr.close()


def test_the_stores_import_without_torch_and_pandas():
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "pandas", "flask", "celery", "redis", "alembic"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import utils.training.database
import utils.training.experiment_db
import utils.training.model_registry
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(SHARED)},
    )
