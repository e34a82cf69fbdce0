from __future__ import annotations

import dataclasses
import hashlib
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import insert

from utils.training.database import open_database
from utils.training.errors import TrainingError, UnknownNameError
from utils.training.experiment_db.tables import run
from utils.training.model_registry import (
    AlreadyRegisteredError,
    ConflictError,
    ModelRegistry,
    UnknownModelError,
    Verification,
    artifact_digest,
)


@pytest.fixture
def registry(database_url):
    with ModelRegistry(database_url) as registry:
        yield registry


def register(registry, version="1", name="digits", **more):
    values = {"checkpoint_path": "s3://bucket/model.pt", "task_type": "vision_classification"}
    return registry.register_model(name=name, version=version, **values | more)


def versions(page):
    return [item.version for item in page.items]


# Registration


def test_without_a_version_the_next_whole_number_is_taken(registry):
    for version in (None, "7", "1.0", "x9", "10 b", None, None):
        register(registry, version)
    register(registry, None, name="other")
    expected = ["9", "8", "10 b", "x9", "1.0", "7", "1"]
    assert versions(registry.list_models(name="digits")) == expected
    assert versions(registry.list_models(name="other")) == ["1"]


def test_a_registered_model_comes_back_whole(registry):
    before = datetime.now(UTC)
    model_id = register(
        registry,
        metrics={"loss": np.float32(0.5), "accuracy": 1, "nan": math.nan, "inf": -math.inf},
        metadata={"bounds": [math.inf, {"deep": None}], "notes": "größer"},
        created_by="ada",
        artifact_digest="ab" * 32,
    )
    model = registry.get_model(model_id)
    assert math.isnan(model.metrics.pop("nan"))
    assert model.metrics == {"loss": 0.5, "accuracy": 1.0, "inf": -math.inf}
    assert model.metadata == {"bounds": [math.inf, {"deep": None}], "notes": "größer"}
    assert (model.tag, model.created_by, model.artifact_digest) == (
        "experimental",
        "ada",
        "ab" * 32,
    )
    assert before <= model.created_at <= datetime.now(UTC)
    assert model.created_at.tzinfo is UTC
    assert (model.export_formats, model.model_size_mb) == ([], None)


def test_what_comes_out_is_frozen(registry):
    model = registry.get_model(register(registry))
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.tag = "production"


def test_name_and_version_are_unique(registry):
    first = register(registry)
    with pytest.raises(AlreadyRegisteredError, match=f"as model {first}; choose another version"):
        register(registry)
    with pytest.raises(ValueError, match="Version '1' of 'digits' is registered already"):
        register(registry, metrics={"loss": 1})
    assert register(registry, name="letters") != first


def test_a_retry_with_its_key_gives_the_same_id_and_registers_nothing(registry):
    content = {"idempotency_key": "k1", "metrics": {"loss": math.nan}, "metadata": {"b": 1, "a": 2}}
    first = register(registry, **content)
    assert register(registry, **content) == first
    assert len(registry.list_models().items) == 1


def test_a_key_belongs_to_one_content(registry):
    first = register(registry, idempotency_key="k1")
    with pytest.raises(AlreadyRegisteredError, match=f"'k1' belongs to model {first}"):
        register(registry, version="2", idempotency_key="k1")
    with pytest.raises(AlreadyRegisteredError, match="registered already"):
        register(registry, idempotency_key="k2")


def test_a_refused_registration_leaves_nothing_behind(registry):
    with pytest.raises(ValueError, match="parent_model_id is 99, but there is no such model"):
        register(registry, parent_model_id=99, metrics={"loss": 1.0})
    assert registry.list_models().items == ()
    register(registry)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "name is '', allowed is a string of 1 to 255"),
        ({"version": "v" * 256}, "version is"),
        ({"version": 1}, "version is 1"),
        ({"task_type": "a\0b"}, "task_type is"),
        ({"metrics": {"loss": "low"}}, "The metric 'loss' is 'low', allowed is a number"),
        ({"metrics": {"loss": True}}, "The metric 'loss' is True"),
        ({"metrics": {"": 1.0}}, "A metric's name is ''"),
        ({"metadata": {"model": object()}}, "which JSON has not"),
    ],
)
def test_a_wrong_value_is_named(registry, wrong, message):
    with pytest.raises(ValueError, match=message):
        register(registry, **wrong)


def test_a_guard_refuses_in_the_same_transaction(registry, database_url):
    engine = open_database(database_url)
    seen = []

    def write_then_refuse(connection):
        seen.append(True)
        values = {"name": "x", "config": {}, "notes": "", "status": "running", "content_digest": ""}
        connection.execute(insert(run), values | {"created_at": datetime.now(UTC)})
        raise PermissionError("The claim is stale.")

    guarded = registry.guarded_by(write_then_refuse)
    model_id = register(registry)
    for write in (
        lambda: register(guarded, version="2"),
        lambda: guarded.promote_model(model_id, "production"),
        lambda: guarded.rollback("digits"),
    ):
        with pytest.raises(PermissionError, match="stale"):
            write()
    assert len(seen) == 3
    assert registry.get_model(model_id).tag == "experimental"
    with engine.connect() as connection:
        assert connection.execute(run.select()).all() == []
    engine.dispose()


# Artifacts


def test_the_digest_and_size_of_a_file_are_found(registry, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"x" * 2_500_000)
    model = registry.get_model(register(registry, checkpoint_path=path))
    assert model.artifact_digest == hashlib.sha256(b"x" * 2_500_000).hexdigest()
    assert model.model_size_mb == 2.5
    assert registry.verify(model.model_id).is_intact
    path.write_bytes(b"y")
    changed = registry.verify(model.model_id)
    assert not changed.is_intact
    assert changed.actual == hashlib.sha256(b"y").hexdigest()


def test_what_is_given_is_not_computed(registry, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"x")
    given = {"artifact_digest": "cd" * 32, "model_size_mb": 7.0}
    model = registry.get_model(register(registry, checkpoint_path=path, **given))
    assert (model.artifact_digest, model.model_size_mb) == ("cd" * 32, 7.0)


def test_the_digest_of_a_folder_counts_names_and_contents(tmp_path):
    def folder(name, files):
        for file, content in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(content)
        return artifact_digest(tmp_path / name)

    listing = "".join(
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
        for name, text in [("a.txt", "1"), ("deep/b.txt", "2")]
    )
    digest = folder("one", {"deep/b.txt": "2", "a.txt": "1"})
    assert digest == hashlib.sha256(listing.encode()).hexdigest()
    assert folder("two", {"a.txt": "1", "deep/b.txt": "2"}) == digest
    assert folder("three", {"a.txt": "1", "deep/c.txt": "2"}) != digest


def test_an_artifact_that_is_away_is_not_intact(registry):
    model_id = register(registry, artifact_digest="ab" * 32)
    assert registry.verify(model_id) == Verification(model_id, "ab" * 32, None)
    assert not registry.verify(model_id).is_intact
    with pytest.raises(UnknownModelError):
        registry.verify(model_id + 1)


# Reading


def test_a_model_is_found_by_id_by_tag_and_by_version(registry):
    one, two = register(registry), register(registry, version="2")
    registry.promote_model(two, "staging")
    assert registry.get_model(one).version == "1"
    assert registry.get_model(tag="staging").model_id == two
    assert registry.get_model(tag="staging", name="digits").model_id == two
    assert registry.get_model(name="digits", version="1").model_id == one


def test_what_is_unknown_is_none(registry):
    register(registry)
    assert registry.get_model(99) is None
    assert registry.get_model(tag="production") is None
    assert registry.get_model(tag="experimental", name="letters") is None
    assert registry.get_model(name="digits", version="9") is None


def test_a_tag_that_several_names_hold_asks_for_the_name(registry):
    for name in ("letters", "digits"):
        registry.promote_model(register(registry, name=name), "production")
    with pytest.raises(ValueError, match="have a production model: digits, letters; give the name"):
        registry.get_model(tag="production")
    assert registry.get_model(tag="production", name="letters").name == "letters"


def test_of_several_holders_the_last_one_to_get_the_tag_is_given(registry):
    one, two, three = (register(registry, version=str(n)) for n in range(3))
    for model_id in (two, three, one):
        registry.promote_model(model_id, "staging")
    assert registry.get_model(tag="staging").model_id == one


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "digits"},
        {"version": "1"},
        {"model_id": 1, "tag": "production"},
        {"model_id": 1, "as_of": datetime(2026, 1, 1, tzinfo=UTC)},
        {"tag": "staging", "version": "1"},
    ],
)
def test_another_combination_is_refused(registry, given):
    with pytest.raises(ValueError, match="give one of these combinations"):
        registry.get_model(**given)


def test_an_unknown_tag_offers_the_nearest(registry):
    model_id = register(registry)
    for call in (
        lambda: registry.promote_model(model_id, "prodcution"),
        lambda: registry.get_model(tag="prodcution"),
        lambda: registry.list_models(tag="prodcution"),
    ):
        with pytest.raises(UnknownNameError, match="Did you mean: production"):
            call()


def test_profiles_are_read_on_their_own(registry):
    profile = {"features": {"age": {"edges": [-math.inf, 0.5, math.inf]}}}
    model_id = register(registry, reference_profile=profile)
    assert registry.reference_profile(model_id) == profile
    assert registry.reference_profile(register(registry, version="2")) is None
    with pytest.raises(UnknownModelError, match="There is no model 99"):
        registry.reference_profile(99)


# Search


def test_a_search_meets_every_condition(registry):
    register(registry, "1", metrics={"loss": 0.5, "acc": 0.9}, training_run_id=7)
    register(registry, "2", metrics={"loss": 0.4}, metadata={"notes": "Müller's try_1%"})
    register(registry, "3", name="letters", metrics={"loss": math.nan, "acc": math.inf})
    registry.promote_model(register(registry, "4", task_type="tabular"), "staging")
    expected = [
        ({"name": "digits"}, ["4", "2", "1"]),
        ({"tag": "staging"}, ["4"]),
        ({"task_type": "tabular"}, ["4"]),
        ({"training_run_id": 7}, ["1"]),
        ({"text": "LETT"}, ["3"]),
        ({"text": "müller"}, ["2"]),
        ({"text": "try_1%"}, ["2"]),
        ({"text": "try%1"}, []),
        ({"metrics": {"loss": (None, 0.45)}}, ["2"]),
        ({"metrics": {"loss": (0.4, None)}}, ["2", "1"]),
        ({"metrics": {"loss": (None, None)}}, ["2", "1"]),
        ({"metrics": {"loss": (0.5, 0.5), "acc": (0.9, 1)}}, ["1"]),
        ({"metrics": {"acc": (0.95, math.inf)}}, ["3"]),
        ({"name": "digits", "metrics": {"acc": (None, None)}, "tag": "staging"}, []),
    ]
    for conditions, found in expected:
        assert versions(registry.list_models(**conditions)) == found, conditions


def test_pages_follow_each_other_without_gap_or_overlap(registry):
    for n in range(7):
        register(registry, str(n))
    first = registry.list_models(limit=3)
    register(registry, "new")
    second = registry.list_models(limit=3, cursor=first.next_cursor)
    third = registry.list_models(limit=3, cursor=second.next_cursor)
    assert versions(first) + versions(second) + versions(third) == list("6543210")
    assert third.next_cursor is None


@pytest.mark.parametrize("descending", [False, True])
def test_models_can_be_ordered_by_a_metric_over_pages(registry, descending):
    losses = [0.3, 0.1, math.inf, 0.3, -math.inf, 0.3, math.nan]
    for n, loss in enumerate(losses):
        register(registry, str(n), metrics={"loss": loss})
    register(registry, "without")
    found, cursor = [], None
    while True:
        page = registry.list_models(
            order_by_metric="loss", descending=descending, limit=2, cursor=cursor
        )
        found += versions(page)
        cursor = page.next_cursor
        if cursor is None:
            break
    ascending = ["4", "1", "0", "3", "5", "2"]
    assert found == (ascending[::-1] if descending else ascending)


def test_a_page_has_bounds(registry):
    for limit in (0, 1001):
        with pytest.raises(ValueError, match=f"limit is {limit}, allowed is 1 to 1000"):
            registry.list_models(limit=limit)
    with pytest.raises(ValueError, match="The cursor 'nonsense'"):
        registry.list_models(cursor="nonsense")


# Promotion


def test_the_replaced_production_version_is_retired(registry):
    one, two = register(registry), register(registry, version="2")
    registry.promote_model(one, "production")
    change = registry.promote_model(two, "production", reason="better", actor="ada")
    assert registry.get_model(one).tag == "retired"
    assert registry.get_model(tag="production").model_id == two
    assert (change.from_tag, change.to_tag, change.replaced_model_id) == (
        "experimental",
        "production",
        one,
    )
    assert (change.reason, change.actor, change.kind, change.sequence) == (
        "better",
        "ada",
        "promote",
        2,
    )


def test_production_is_a_matter_of_each_name(registry):
    one, two = register(registry), register(registry, name="letters")
    registry.promote_model(one, "production")
    registry.promote_model(two, "production")
    assert registry.get_model(one).tag == registry.get_model(two).tag == "production"


def test_other_tags_replace_nobody(registry):
    one, two = register(registry), register(registry, version="2")
    for model_id in (one, two):
        registry.promote_model(model_id, "staging")
    assert {item.model_id for item in registry.list_models(tag="staging").items} == {one, two}


def test_the_audit_tells_every_change_newest_first(registry):
    one, two = register(registry), register(registry, version="2")
    changes = [
        registry.promote_model(one, "staging", reason="looks good", actor="ada"),
        registry.promote_model(one, "production"),
        registry.promote_model(one, "production", reason="again"),
        registry.promote_model(two, "production"),
        registry.promote_model(two, "retired", reason="broken", actor="bob"),
    ]
    history = registry.history("digits")
    assert history == changes[::-1]
    assert [change.sequence for change in history] == [5, 4, 3, 2, 1]
    assert [change.at for change in history] == sorted((c.at for c in history), reverse=True)
    assert (changes[2].from_tag, changes[2].replaced_model_id) == ("production", None)
    assert registry.history("digits", limit=2, before=4) == changes[1:3][::-1]
    assert registry.history("letters") == []


def test_a_decision_on_a_stale_view_is_refused(registry):
    one, two, three = (register(registry, version=str(n)) for n in range(3))
    registry.promote_model(one, "production", expected_current=0)
    registry.promote_model(two, "production", expected_current=one)
    with pytest.raises(ConflictError, match=f"is model {two}, not model {one} as expected"):
        registry.promote_model(three, "production", expected_current=one)
    with pytest.raises(ConflictError, match=f"is model {two}, not no model as expected"):
        registry.promote_model(three, "staging", expected_current=0)
    assert registry.get_model(three).tag == "experimental"
    assert len(registry.history("digits")) == 2
    # A retry whose answer was lost finds its wish fulfilled.
    registry.promote_model(two, "production", expected_current=one)


def test_an_unknown_model_has_no_tag(registry):
    with pytest.raises(UnknownModelError, match="There is no model 99; the list of models"):
        registry.promote_model(99, "production")
    with pytest.raises(LookupError, match="no model of the name 'letters'"):
        registry.rollback("letters")
    assert issubclass(UnknownModelError, TrainingError)


def test_a_clock_that_runs_back_does_not_turn_the_audit_round(registry, monkeypatch):
    one, two = register(registry), register(registry, version="2")
    first = registry.promote_model(one, "production")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr("utils.training.model_registry.promotions.utc_now", lambda: hour_ago)
    assert registry.promote_model(two, "production").at > first.at


# Rollback


def test_rollbacks_go_further_back_each_time(registry):
    ids = [register(registry, version=str(n)) for n in range(3)]
    for model_id in ids:
        registry.promote_model(model_id, "production")
    change = registry.rollback("digits", reason="errors", actor="watch")
    assert (change.kind, change.model_id, change.replaced_model_id) == ("rollback", ids[1], ids[2])
    assert (change.from_tag, change.reason, change.actor) == ("retired", "errors", "watch")
    assert registry.get_model(ids[2]).tag == "retired"
    assert registry.rollback("digits").model_id == ids[0]
    with pytest.raises(ConflictError, match="had no production version before"):
        registry.rollback("digits")
    registry.promote_model(ids[2], "production")
    assert registry.rollback("digits").model_id == ids[0]


def test_a_version_that_was_taken_out_is_not_rolled_back_to(registry):
    one, two = register(registry), register(registry, version="2")
    registry.promote_model(one, "production")
    registry.promote_model(two, "production")
    registry.promote_model(two, "retired")
    assert registry.rollback("digits", expected_current=0).model_id == one
    with pytest.raises(ConflictError):
        registry.rollback("digits")


def test_a_rollback_of_what_is_gone_already_is_refused(registry):
    ids = [register(registry, version=str(n)) for n in range(3)]
    for model_id in ids:
        registry.promote_model(model_id, "production")
    registry.rollback("digits", expected_current=ids[2])
    with pytest.raises(ConflictError, match=f"is model {ids[1]}, not model {ids[2]}"):
        registry.rollback("digits", expected_current=ids[2])
    assert registry.get_model(tag="production").model_id == ids[1]


def test_without_any_production_there_is_nothing_to_roll_back_to(registry):
    register(registry)
    with pytest.raises(ConflictError):
        registry.rollback("digits")


# The past


def test_the_past_is_told_from_the_audit(registry):
    one, two = register(registry), register(registry, version="2")
    born = registry.get_model(two).created_at
    first = registry.promote_model(one, "production")
    second = registry.promote_model(two, "production")
    third = registry.rollback("digits")

    def production(time):
        found = registry.get_model(tag="production", name="digits", as_of=time)
        return None if found is None else found.model_id

    moment = timedelta(microseconds=1)
    assert production(first.at - moment) is None
    assert production(first.at) == production(second.at - moment) == one
    assert production(second.at) == production(third.at - moment) == two
    assert production(third.at) == one
    assert production(third.at.replace(tzinfo=None)) == one
    retired = registry.get_model(tag="retired", as_of=second.at)
    assert retired.model_id == one
    assert registry.get_model(tag="experimental", as_of=born).model_id == two
    assert registry.get_model(tag="experimental", as_of=born - timedelta(days=1)) is None


def test_the_past_asks_for_a_name_where_several_held_the_tag(registry):
    for name in ("letters", "digits"):
        last = registry.promote_model(register(registry, name=name), "production")
    with pytest.raises(ValueError, match="digits, letters"):
        registry.get_model(tag="production", as_of=last.at)


# Lineage and comparison


def test_lineage_goes_both_ways(registry):
    root = register(registry, "1")
    middle = register(registry, "2", parent_model_id=root)
    leaf = register(
        registry, "3", parent_model_id=middle, training_run_id=5, data_profile={"rows": 10}
    )
    other = register(registry, "4", parent_model_id=root)
    lineage = registry.lineage(leaf)
    assert [item.model_id for item in lineage.parents] == [middle, root]
    assert lineage.children == ()
    assert (lineage.training_run_id, lineage.data_profile) == (5, {"rows": 10})
    assert [item.model_id for item in registry.lineage(root).children] == [middle, other, leaf]
    with pytest.raises(UnknownModelError):
        registry.lineage(99)


def test_a_comparison_keeps_the_order_and_shows_what_is_missing(registry):
    one = register(registry, "1", metrics={"loss": 0.5, "version": 3.0})
    two = register(registry, "2", metrics={"f1": 0.7})
    table = registry.compare_models([two, one])
    assert table["model_id"].tolist() == [two, one]
    assert table["version"].tolist() == ["2", "1"]
    assert table["loss"].isna().tolist() == [True, False]
    assert table["metrics.version"].tolist()[1] == 3.0
    with pytest.raises(UnknownModelError, match="There is no model 98, 99"):
        registry.compare_models([99, 98])
    assert registry.compare_models([]).empty


def test_an_engine_can_be_shared(database_url):
    engine = open_database(database_url)
    model_id = register(ModelRegistry(engine))
    assert ModelRegistry(engine).get_model(model_id) is not None
    engine.dispose()
