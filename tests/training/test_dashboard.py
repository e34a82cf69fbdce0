"""The dashboard: what its panels show, that nothing overlaps, and what it leaves alone."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from utils.training.dashboard import Dashboard
from utils.training.dashboard.drawing import short_names
from utils.training.dashboard.inputs import Settings, best_epoch, drift_series, metrics_frame
from utils.training.drift_metrics import DriftMetrics
from utils.training.errors import MissingDependencyError, TrainingError
from utils.training.training_config import TrainingConfig

SIX = [
    "Loss",
    "Accuracy",
    "Generalisation gap",
    "Learning rate",
    "Gradient norm",
    "Time per epoch",
]
FOUR = [
    "JS divergence",
    "Most drifted features, latest comparison",
    "Features over time",
    "Drifted features and status",
]
LONG = [f"the_exceedingly_long_name_of_feature_{i}_in_the_second_customer_table" for i in range(14)]


def frame(num_epochs, has_accuracy=True, has_gaps=False):
    epochs = np.arange(num_epochs)
    falling = 2 * np.exp(-epochs / 8)
    made = pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": falling + 0.05,
            "val_loss": falling + 0.15 + 0.008 * epochs,
            "train_accuracy": (1 - 0.9 * np.exp(-epochs / 6)) if has_accuracy else np.nan,
            "val_accuracy": (0.95 - 0.87 * np.exp(-epochs / 6)) if has_accuracy else np.nan,
            "learning_rate": 5e-5 * 0.9**epochs,
            "gradient_norm": 1.5 + np.sin(epochs),
            "epoch_duration": 100.0 + 3 * np.cos(epochs),
        }
    )
    if has_gaps:
        made.loc[num_epochs // 2, ["val_loss", "gradient_norm"]] = np.nan
        made.loc[num_epochs - 1, "train_loss"] = np.inf
    return made


def drift(num, names, top=0.25):
    points = []
    for i in range(num):
        values = {name: top * (i + 1) / num / (k + 1) for k, name in enumerate(names)}
        worst = max(values.values())
        points.append(
            DriftMetrics(
                js_divergence=worst,
                status="critical" if worst >= 0.2 else "warning" if worst >= 0.1 else "healthy",
                affected_features=[name for name, value in values.items() if value >= 0.05],
                timestamp=f"2026-03-{i + 1:02}T10:30:00+00:00",
                details={f"{name}.js": value for name, value in values.items()}
                | {"watch": 1.0}
                | {f"{name}.p": 0.5 for name in values},
            )
        )
    return points


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def legend_texts(axes):
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def overlaps(figure, monkeypatch):
    """Pairs of drawn texts whose boxes share more than a sliver."""
    drawn = []
    draw = Text.draw

    def spy(text, renderer, *arguments, **options):
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer, *arguments, **options)

    monkeypatch.setattr(Text, "draw", spy)
    FigureCanvasAgg(figure).draw()
    assert len(drawn) > 6
    pairs = []
    for index, (first, box) in enumerate(drawn):
        for second, other in drawn[index + 1 :]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            if width > 1 and height > 1:
                pairs.append((first, second))
    return pairs


CASES = {
    "one epoch": lambda board: board.plot(frame(1), TrainingConfig()),
    "three": lambda board: board.plot(frame(3), TrainingConfig(run_name="a name")),
    "fifty": lambda board: board.plot(frame(50), TrainingConfig()),
    "gaps": lambda board: board.plot(frame(12, has_gaps=True), TrainingConfig()),
    "no accuracy": lambda board: board.plot(frame(8, has_accuracy=False)),
    "nothing": lambda board: board.plot(frame(0)),
    "long title": lambda board: board.plot(frame(3), title="A title without an end " * 12),
    "drift": lambda board: board.plot_with_drift(frame(8), drift(8, ["age", "income"])),
    "one comparison": lambda board: board.plot_with_drift(frame(1), drift(1, ["age"])),
    "no drift": lambda board: board.plot_with_drift(frame(5), []),
    "long names": lambda board: board.plot_with_drift(frame(50), drift(28, LONG), TrainingConfig()),
}


@functools.cache
def drawn_case(case):
    return CASES[case](Dashboard())


@pytest.mark.parametrize("case", CASES)
def test_no_text_lies_on_another(case, monkeypatch):
    assert overlaps(drawn_case(case), monkeypatch) == []


@pytest.mark.parametrize("case", CASES)
def test_every_panel_is_there_with_a_legend_or_a_sentence(case):
    found = panels(drawn_case(case))
    assert list(found) == SIX + (FOUR if len(found) > 6 else [])
    for title, axes in found.items():
        sentences = [text.get_text() for text in axes.texts]
        assert legend_texts(axes) or sentences or title == "Features over time"
        if not sentences:
            assert axes.get_ylabel() or axes.get_xlabel()


def test_the_best_epoch_is_marked():
    data = frame(8)
    data.loc[[3, 5], "val_loss"] = 0.01
    found = panels(Dashboard().plot(data, TrainingConfig()))
    assert "best: epoch 5 (0.01)" in legend_texts(found["Loss"])
    assert "best epoch (5)" in legend_texts(found["Accuracy"])


def test_the_best_epoch_follows_the_configs_monitor():
    config = TrainingConfig(monitor="val_accuracy", monitor_mode="max")
    found = panels(Dashboard().plot(frame(8), config))
    assert legend_texts(found["Accuracy"])[-1].startswith("best: epoch 7")
    best = best_epoch(metrics_frame(frame(3)), Settings.from_config({"monitor": "val_bleu"}))
    assert best.column == "val_loss"


def test_nan_is_never_best_and_is_marked():
    data = frame(4)
    data["val_loss"] = [math.nan, 0.5, math.inf, 0.7]
    found = panels(Dashboard().plot(data))
    assert legend_texts(found["Loss"])[2:] == ["best: epoch 1 (0.5)", "NaN or Inf"]
    nothing = frame(2).assign(val_loss=np.nan, train_loss=np.nan)
    assert best_epoch(nothing, Settings.from_config(None)) is None


def test_thresholds_are_drawn_from_the_config():
    config = {
        "explosion_threshold": 4.0,
        "gradient_clip_norm": 0.5,
        "drift_threshold_warning": 0.05,
    }
    figure = Dashboard().plot_with_drift(frame(4), drift(4, ["age"]), config)
    found = panels(figure)
    assert legend_texts(found["Gradient norm"])[-2:] == ["explosion (4)", "clipped to 0.5"]
    assert "warning (0.05)" in legend_texts(found["JS divergence"])
    levels = [line.get_ydata()[0] for line in found["JS divergence"].lines[1:]]
    assert levels == [0.05, 0.2]


def test_a_threshold_far_above_does_not_flatten_the_panel():
    found = panels(Dashboard().plot(frame(4), {"explosion_threshold": 1000.0}))
    assert "explosion (1000), above the panel" in legend_texts(found["Gradient norm"])
    assert found["Gradient norm"].get_ylim()[1] < 10


def test_values_over_orders_of_magnitude_get_a_log_axis():
    data = frame(3).assign(train_loss=[1000.0, 10.0, 0.1])
    found = panels(Dashboard().plot(data))
    assert found["Loss"].get_yscale() == "log"
    assert found["Loss"].get_ylabel() == "loss (log)"


def test_perplexity_stands_in_for_accuracy():
    data = frame(3, has_accuracy=False).assign(val_perplexity=[9.0, 7.0, 6.0])
    assert "Perplexity" in panels(Dashboard().plot(data))


@pytest.mark.parametrize(
    ("seconds", "unit"), [(5.0, "time (s)"), (600.0, "time (min)"), (9000.0, "time (h)")]
)
def test_durations_have_a_readable_unit(seconds, unit):
    found = panels(Dashboard().plot(frame(3).assign(epoch_duration=seconds)))
    assert found["Time per epoch"].get_ylabel() == unit


@pytest.mark.parametrize(
    "data",
    [
        [{"epoch": 0, "train/loss": 2.0}, {"epoch": 1, "train/loss": 1.0}],
        {"train_loss": [2.0, 1.0]},
        [
            {"name": "train/loss", "value": 2.0, "epoch": 0, "step": None},
            {"name": "train/loss", "value": 1.0, "epoch": 1, "step": None},
            {"name": "train/loss", "value": 7.0, "epoch": None, "step": 10},
        ],
        [{"epoch": 1, "train_loss": 1.0, "note": "words"}, {"epoch": 0, "train_loss": 2.0}],
    ],
)
def test_metrics_come_in_several_forms(data):
    made = metrics_frame(data)
    assert made["epoch"].tolist() == [0, 1]
    assert made["train_loss"].tolist() == [2.0, 1.0]
    assert set(panels(Dashboard().plot(data))) == set(SIX)


DRIFT_ROWS = [
    {"epoch": 3, "js_divergence": 0.05, "affected_features": []},
    {"epoch": 4, "js_divergence": 0.15, "affected_features": "age, income"},
    {"epoch": 5, "js_divergence": 0.25, "status": "warning", "details": {"age.js": 0.25}},
]


@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_drift_rows_know_their_epochs(make):
    series = drift_series(make(DRIFT_ROWS), Settings.from_config(None))
    assert series.axis == "epoch"
    assert [point.label for point in series.points] == ["3", "4", "5"]
    assert [point.status for point in series.points][:2] == ["healthy", "warning"]
    assert series.points[1].affected_features == ("age", "income")
    assert series.points[2].features == {"age": 0.25}


def test_drift_metrics_are_ordered_by_their_time():
    series = drift_series(drift(2, ["age"]), Settings.from_config(None))
    assert series.axis == "timestamp"
    assert series.points[0].label == "2026-03-01\n10:30"
    assert series.points[0].features == {"age": 0.125}
    alone = drift_series(drift(1, ["age"])[0], Settings.from_config(None))
    assert len(alone.points) == 1


def test_a_summary_is_its_own_drift_data():
    data = frame(3).assign(drift_js=[np.nan, 0.05, 0.3], drift_status=[None, "healthy", "critical"])
    for given in (None, data):
        found = panels(Dashboard().plot_with_drift(data, given))
        assert legend_texts(found["Drifted features and status"]) == ["healthy", "critical"]
        assert len(found["Features over time"].texts) == 1  # the sentence


def test_drift_without_epoch_or_time_is_counted():
    series = drift_series(
        [{"js_divergence": 0.1}, {"js_divergence": None}], Settings.from_config({})
    )
    assert series.axis == "comparison"
    assert [point.label for point in series.points] == ["1"]


def test_config_comes_in_several_forms():
    expected = "learning_rate\u00a00.001"
    for config in (
        TrainingConfig(learning_rate=0.001),
        {"learning_rate": 0.001},
        SimpleNamespace(learning_rate=0.001),
    ):
        assert expected in Settings.from_config(config).footer
    assert Settings.from_config(None).footer == ""


def test_long_names_stay_apart():
    short = short_names([*LONG, "age"])
    assert short["age"] == "age"
    assert len(set(short.values())) == len(short)
    assert max(map(len, short.values())) <= 24
    twins = [f"{'x' * 40}{i}{'y' * 40}{i}" for i in range(3)]
    assert len(set(short_names(twins).values())) == 3
    assert short_names(["a" * 15 + "b" * 15]) == {"a" * 15 + "b" * 15: "a" * 12 + "…" + "b" * 11}


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.html", b"<!doctype html>")]
)
def test_it_is_saved_in_the_format_of_its_name(name, start, tmp_path):
    board = Dashboard()
    board.plot(frame(2), title="Digits")
    path = board.save(tmp_path / "new folder" / name)
    assert path.read_bytes().startswith(start)
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_the_page_needs_nothing_beside_it(tmp_path):
    board = Dashboard()
    board.plot(frame(3), title="Digits <3 & more")
    page = board.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>Digits &lt;3 &amp; more</title>" in page
    assert page.count("<svg") == 1
    assert "<th>train_loss</th>" in page
    assert "<script" not in page
    assert 'src="' not in page


def test_the_same_run_gives_the_same_bytes(tmp_path):
    pages = []
    for name in ("one.svg", "two.svg"):
        board = Dashboard()
        board.plot(frame(3))
        pages.append(board.save(tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_an_unknown_format_names_those_there_are(tmp_path):
    board = Dashboard()
    board.plot(frame(1))
    with pytest.raises(ValueError, match=r"Unknown dashboard format '\.jpg'.*\.html, \.png, \.svg"):
        board.save(tmp_path / "a.jpg")


def test_saving_before_plotting_says_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match=r"call plot\(\) first"):
        Dashboard().save(tmp_path / "a.png")


def test_a_notebook_can_show_the_figure():
    assert Dashboard().plot(frame(2))._repr_png_().startswith(b"\x89PNG")


def test_backend_and_style_of_the_process_stay_as_they_were():
    before = dict(mpl.rcParams)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30}):
        figure = Dashboard().plot(frame(2))
        assert mpl.rcParams["axes.facecolor"] == "black"
    assert dict(mpl.rcParams) == before
    assert figure.axes[0].get_facecolor()[:3] == (1.0, 1.0, 1.0)


def test_it_imports_neither_torch_nor_pyplot():
    code = (
        "import sys; from utils.training.dashboard import Dashboard; "
        "assert 'matplotlib' not in sys.modules; "
        "Dashboard().plot([{'epoch': 0, 'train_loss': 1.0}]); "
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_without_matplotlib_it_names_the_extra(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("utils.training.dashboard.layout")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(MissingDependencyError, match=r"training-engine\[tracking\]"):
        Dashboard().plot(frame(1))
