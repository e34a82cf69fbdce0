"""The parts that all dashboards are put together from, so that they look and speak alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models import dashboard as models

TAG = "training-engine"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
RELEASE = 'namespace=~"$namespace"'
MODEL = f'{RELEASE}, model_name=~"$model"'

GREEN, YELLOW, RED, BLUE, PURPLE = "green", "yellow", "red", "blue", "purple"
Width = Literal[4, 6, 8, 12, 24]

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel)


@dataclass(frozen=True)
class Query:
    """PromQL, and the name of its lines."""

    expr: str
    legend: str


def events(metric: str, by: str, window: str) -> str:
    """How often something happened in a window, its first time included.

    ``increase`` misses the first: a counter with labels begins at 1, not at 0.
    """
    return f"sum by ({by}) (clamp_min({metric} - ({metric} offset {window} or 0 * {metric}), 0))"


def beginnings(metric: str, condition: str = "") -> str:
    """Models of which a gauge has a value (under a condition) that it had not a minute ago."""
    then = f"max by (model_name) ({metric} offset 1m){condition}"
    return f"max by (model_name) ({metric}){condition} unless on (model_name) ({then})"


def board(
    uid: str, title: str, description: str, *, has_models: bool = True
) -> dashboards.Dashboard:
    """An empty dashboard with its variables and the links to its neighbours."""
    made = (
        dashboards.Dashboard(f"Training engine / {title}")
        .uid(f"{TAG}-{uid}")
        .description(description)
        .tags([TAG])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(
            dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(_choice("namespace", "namespace", 'up{job="scheduler"}'))
        .link(
            dashboards.DashboardLink("Training engine")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
    )
    known = '__name__=~"serving_loaded|training_job_steps|model_registrations_total"'
    model = _choice("model", "model_name", f"{{{known}, {RELEASE}}}")
    model.multi(True).include_all(True).all_value(".*")
    return made.with_variable(model) if has_models else made


def _choice(name: str, label: str, series: str) -> dashboards.QueryVariable:
    """A variable with the values of a label; empty, for series without it, where it has none."""
    return (
        dashboards.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def add(made: dashboards.Dashboard, title: str, panels: Sequence[Panel]) -> dashboards.Dashboard:
    """A titled row of panels."""
    made.with_row(dashboards.Row(title))
    for panel in panels:
        made.with_panel(panel)
    return made


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: Width = 8,
    style: Literal["line", "bars"] = "line",
    steps: Sequence[tuple[float, str]] = (),
    is_log: bool = False,
    least: float | None = 0,
) -> timeseries.Panel:
    """Lines (or bars) over time; ``steps`` are levels above which something is a colour."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(8)
        .span(width)
        .line_width(1)
        .fill_opacity(60 if style == "bars" else 8)
        .draw_style(styles.GraphDrawStyle.BARS if style == "bars" else styles.GraphDrawStyle.LINE)
        .show_points(styles.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(styles.LegendDisplayMode.TABLE)
            .placement(styles.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(styles.TooltipDisplayMode.MULTI)
            .sort(styles.SortOrder.DESCENDING)
        )
    )
    if style == "bars":
        panel.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    if is_log:
        panel.scale_distribution(
            common.ScaleDistributionConfig().type(styles.ScaleDistribution.LOG).log(10)
        )
    elif least is not None:
        panel.axis_soft_min(least)
    if steps:
        panel.thresholds(_thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(styles.GraphThresholdsStyleMode.DASHED)
        )
    return _with(panel, queries)


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: Width = 4,
    steps: Sequence[tuple[float, str]] = (),
    words: dict[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """The present value of each line; ``words`` give a value its text and colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(5)
        .span(width)
        .graph_mode(styles.BigValueGraphMode.NONE)
        .color_mode(styles.BigValueColorMode.VALUE)
        .thresholds(_thresholds(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if words:
        panel.mappings([_mapping(words)])
    return _with(panel, queries)


def timeline(
    title: str,
    description: str,
    *queries: Query,
    words: dict[str, tuple[str, str]],
    width: Width = 12,
) -> statetimeline.Panel:
    """States over time, a bar for each line."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .mappings([_mapping(words)])
        .show_value(styles.VisibilityMode.NEVER)
        .line_width(0)
        .fill_opacity(70)
        .legend(
            common.VizLegendOptions()
            .display_mode(styles.LegendDisplayMode.LIST)
            .placement(styles.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    return _with(panel, queries)


def note(name: str, color: str, expr: str) -> dashboards.AnnotationQuery:
    """A mark on every panel wherever an expression has a value."""
    return (
        dashboards.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
    )


def _with(panel: P, queries: Sequence[Query]) -> P:
    for place, query in enumerate(queries):
        panel.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + place))
        )
    return panel


def _thresholds(steps: Sequence[tuple[float, str]]) -> dashboards.ThresholdsConfig:
    levels = [models.Threshold(value=None, color=GREEN)]
    levels += [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(levels)


def _mapping(words: dict[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(words.items())
        }
    )
