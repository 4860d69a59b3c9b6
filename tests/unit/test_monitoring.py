"""What docs/monitoring.md says of statistics and log lines is so, and its code hands them on."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from tests.support import Persistence, make_persistence

from ptb_s3 import Stats
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.memory import MemoryStore

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
LINES = 16
"""What a reader takes in at a glance, of each block, blank lines aside."""
COUNTERS = {
    *("bytes_sent", "commits", "compactions", "conflicts", "failures", "merged", "overridden"),
}
GAUGES = {"revision", "age", "longest_stall", "jobs", "jobs_due", "jobs_late", "overdue_carried"}
SECONDS = {"age", "longest_stall", "jobs_late"}


def block(heading: str) -> str:
    """Return the Python block of a section."""
    (code,) = re.findall(
        rf"^## {heading}\n[^#]*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    return str(code)


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table of a section, without its head."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [row.split(" | ") for row in rows[1:]]


async def run(heading: str) -> tuple[dict[str, Any], Persistence]:
    """Run a block, and give it a persistence that has committed twice."""
    names: dict[str, Any] = {}
    exec(compile(block(heading), heading, "exec"), names)  # noqa: S102 - the page's own code
    persistence = names["persistence"] = make_persistence(MemoryStore())
    await persistence.get_user_data()
    for n in range(2):
        await persistence.update_user_data(1, {"n": n})
    return names, persistence


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTB_S3_BUCKET", "my-bucket")
    monkeypatch.setenv("PTB_S3_KEY", Key(bytes(32)).reveal())


def test_every_figure_is_described_as_in_the_code() -> None:
    """The table is the docstring's, field by field and word by word."""
    documented = inspect.getdoc(Stats)
    assert documented is not None
    attributes = documented.partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE)
    expected = [[f"`{name}`", " ".join(text.split())] for name, text in entries]
    assert table("Statistics") == expected
    assert [name for name, _ in entries] == [field.name for field in fields(Stats)]


def test_every_figure_is_handed_on() -> None:
    """All but the time of the commit, which `age` tells, and two more that are not for a graph."""
    others = {"committed_at", "overdue", "overdue_sends"}
    assert {field.name for field in fields(Stats)} == COUNTERS | GAUGES | others


@pytest.mark.parametrize("heading", ["Prometheus", "OpenTelemetry"])
def test_blocks_are_as_short_as_promised(heading: str) -> None:
    """Sixteen lines from a bot without figures to one with them."""
    assert len([line for line in block(heading).splitlines() if line.strip()]) <= LINES


async def test_prometheus_scrapes_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters as counters, seconds as seconds, each with the value that the statistics have."""
    registry, served = prometheus_client.CollectorRegistry(), []
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    monkeypatch.setattr(
        prometheus_client, "start_http_server", lambda *given, **_: served.append(given)
    )
    _, persistence = await run("Prometheus")
    stats = persistence.stats
    assert len(served) == 1
    for name in COUNTERS:
        assert registry.get_sample_value(f"ptb_s3_{name}_total") == getattr(stats, name)
    assert registry.get_sample_value("ptb_s3_commits_total") == 2
    assert registry.get_sample_value("ptb_s3_revision") == 2
    assert registry.get_sample_value("ptb_s3_longest_stall_seconds") == stats.longest_stall > 0
    for name in GAUGES - {"age"}:
        full = f"ptb_s3_{name}_seconds" if name in SECONDS else f"ptb_s3_{name}"
        assert registry.get_sample_value(full) == getattr(stats, name)
    age = registry.get_sample_value("ptb_s3_age_seconds")
    assert age is not None
    assert age >= 0
    assert b"ptb_s3_bytes_sent_total" in prometheus_client.generate_latest(registry)


async def test_before_the_state_is_loaded_there_is_no_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No figure is better than one that looks well."""
    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    monkeypatch.setattr(prometheus_client, "start_http_server", lambda *_, **__: None)
    names, _ = await run("Prometheus")
    names["persistence"] = make_persistence(MemoryStore())
    assert registry.get_sample_value("ptb_s3_age_seconds") is None
    assert registry.get_sample_value("ptb_s3_commits_total") == 0


async def test_opentelemetry_observes_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the SDK's own reader; units stand beside the gauges."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    _, persistence = await run("OpenTelemetry")
    data = reader.get_metrics_data()
    assert isinstance(data, MetricsData)
    (scope,) = data.resource_metrics[0].scope_metrics
    found = {metric.name: metric for metric in scope.metrics}
    values = {name: metric.data.data_points[0].value for name, metric in found.items()}  # type: ignore[union-attr]
    assert values.keys() == {f"ptb_s3.{name}" for name in COUNTERS | GAUGES}
    stats = persistence.stats
    for name in (COUNTERS | GAUGES) - {"age"}:
        assert values[f"ptb_s3.{name}"] == getattr(stats, name)
    assert {found[f"ptb_s3.{name}"].unit for name in SECONDS} == {"s"}
    provider.shutdown()


def test_alerts_name_metrics_that_there_are() -> None:
    """Each expression is of a name that the first block gives."""
    known = {f"ptb_s3_{name}_total" for name in COUNTERS}
    known |= {f"ptb_s3_{n}_seconds" if n in SECONDS else f"ptb_s3_{n}" for n in GAUGES}
    named = [re.findall(r"ptb_s3_\w+", row[1]) for row in table("Alerts worth having")]
    assert all(len(names) == 1 and set(names) <= known for names in named)
    assert len(named) >= 5


def test_log_lines_are_logged_at_these_levels() -> None:
    """Each line of the table is one of the code's, at its level."""
    logged: dict[str, str] = {}
    for path in (ROOT / "src" / "ptb_s3").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_LOGGER."):
                for text in node.args:
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        logged[text.value] = ast.unparse(node.func).rpartition(".")[2]
    rows = table("The log")
    assert len(rows) >= 8
    for line, level, _ in rows:
        beginning = line.strip("`")
        (found,) = {level for text, level in logged.items() if text.startswith(beginning)}
        assert level.startswith("info; warning" if found == "log" else found), beginning
