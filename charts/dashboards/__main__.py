"""Write the dashboards' files."""

from charts.dashboards import BUILDERS, FOLDER, render

FOLDER.mkdir(exist_ok=True)
for name in BUILDERS:
    (FOLDER / f"{name}.json").write_text(render(name), encoding="utf-8")
