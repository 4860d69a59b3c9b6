"""The unit and the manifest for bots that poll: taken by their hosts, with time to save."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from telegram.ext import Application

from ptb_s3 import PersistentApplication
from ptb_s3._keys.keyring import Key
from ptb_s3._options import Options

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "infra" / "systemd" / "shop-bot.service"
MANIFEST = ROOT / "infra" / "kubernetes" / "shop-bot.yaml"
PAGE = (ROOT / "docs" / "polling.md").read_text(encoding="utf-8")
SECRETS = re.compile(r"ptbs3k1_|AKIA|\d{6,}:[\w-]{6,}|(?:KEY|TOKEN|SECRET)\w*=", re.IGNORECASE)
RESERVE = 2.0
"""Seconds that a host has to wait beyond PTB_S3_FLUSH_TIMEOUT, as for the hosts of webhooks."""

FIELDS: dict[str, set[str]] = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "labels"},
    "spec": {"replicas", "strategy", "revisionHistoryLimit", "selector", "template"},
    "spec.strategy": {"type"},
    "spec.selector": {"matchLabels"},
    "spec.template": {"metadata", "spec"},
    "spec.template.metadata": {"labels"},
    "spec.template.spec": {
        *("terminationGracePeriodSeconds", "automountServiceAccountToken", "containers"),
        *("enableServiceLinks", "securityContext"),
    },
    "spec.template.spec.securityContext": {
        *("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"),
    },
    "spec.template.spec.securityContext.seccompProfile": {"type"},
    "spec.template.spec.containers": {"name", "image", "envFrom", "resources", "securityContext"},
    "spec.template.spec.containers.envFrom": {"secretRef"},
    "spec.template.spec.containers.envFrom.secretRef": {"name"},
    "spec.template.spec.containers.resources": {"requests", "limits"},
    "spec.template.spec.containers.resources.requests": {"cpu", "memory"},
    "spec.template.spec.containers.resources.limits": {"cpu", "memory"},
    "spec.template.spec.containers.securityContext": {
        *("allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"),
    },
    "spec.template.spec.containers.securityContext.capabilities": {"drop"},
}
"""Fields of apps/v1 Deployment that are used, by where they stand: a cluster ignores or refuses any
that is misspelled or put elsewhere. Labels are free."""


def unit() -> dict[str, dict[str, list[str]]]:
    """Return the settings of the unit by section; each may be given more than once."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            sections[header[1]] = defaultdict(list)
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            sections[list(sections)[-1]][name].append(value)
    return sections


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def manifest() -> Any:
    (document,) = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    return document


def pod() -> Any:
    return manifest()["spec"]["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


# systemd ------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return the unit with a Python that this machine has in the place of the example's."""
    text = UNIT.read_text(encoding="utf-8")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text))
    return copy


def test_systemd_takes_the_unit(installed: Path) -> None:
    """`systemd-analyze verify` finds nothing: an optional check, since not every machine has it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("optional check: systemd-analyze is not there to verify infra/systemd")
    run = subprocess.run(  # noqa: S603 - the program of systemd, and our own unit
        [program, "verify", "--man=no", "--recursive-errors=no", installed],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_unit_has_what_it_needs() -> None:
    """Wherever systemd is not: three sections, and no setting twice."""
    sections = unit()
    assert list(sections) == ["Unit", "Service", "Install"]
    assert all(len(values) == 1 for section in sections.values() for values in section.values())
    assert sections["Install"] == {"WantedBy": ["multi-user.target"]}
    service = sections["Service"]
    assert service["Restart"] == ["on-failure"]
    assert service["EnvironmentFile"] == ["/etc/shop-bot/env"]
    program, script = shlex.split(service["ExecStart"][0])
    assert (Path(program).is_absolute(), script) == (True, "bot.py")
    assert program.startswith(service["WorkingDirectory"][0])


def test_systemd_stops_as_a_bot_is_stopped() -> None:
    """By a signal that `run_polling` knows, and with time to save and to end handlers."""
    service = unit()["Service"]
    assert service["KillSignal"] == ["SIGTERM"]
    assert "signal.SIGTERM" in Path(sys.modules[Application.__module__].__file__ or "").read_text()
    assert seconds(service["TimeoutStopSec"][0]) >= Options.flush_timeout + RESERVE


# Kubernetes ---------------------------------------------------------------------------------------


def misplaced(value: Any, place: str = "") -> Iterator[str]:
    """Give the fields of a manifest that do not belong where they stand."""
    if isinstance(value, list):
        for entry in value:
            yield from misplaced(entry, place)
    elif isinstance(value, dict) and not place.endswith(("labels", "matchLabels")):
        assert place in FIELDS, place
        for name, below in value.items():
            path = f"{place}.{name}".lstrip(".")
            if name not in FIELDS[place]:
                yield path
            else:
                yield from misplaced(below, path)


def test_the_manifest_is_a_deployment() -> None:
    """Every field is where a cluster looks for it, and the selector finds the pods."""
    deployment = manifest()
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert list(misplaced(deployment)) == []
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_misspelled_field_would_be_found() -> None:
    """Or the test above would prove nothing."""
    deployment = manifest()
    deployment["spec"]["strategie"] = {"type": "Recreate"}
    deployment["spec"]["template"]["spec"]["containers"][0]["envfrom"] = []
    assert set(misplaced(deployment)) == {
        "spec.strategie",
        "spec.template.spec.containers.envfrom",
    }


def test_one_pod_at_a_time() -> None:
    """Telegram lets one instance poll."""
    spec = manifest()["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_kubernetes_waits_until_all_is_saved() -> None:
    """The grace period is longer than a flush; nothing restarts a bot that waits for a storage."""
    assert pod()["terminationGracePeriodSeconds"] >= Options.flush_timeout + RESERVE
    assert not {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"} & container().keys()


def test_a_pod_may_do_no_more_than_it_needs() -> None:
    """No root, no way to become it, no access to the cluster."""
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


# Both, and the page -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [UNIT, MANIFEST], ids=lambda path: path.name)
def test_no_secret_stands_in_a_file_of_a_host(path: Path) -> None:
    """They come from the environment's file and from the Secret."""
    settings = "\n".join(
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith("#")
    )
    assert not SECRETS.search(settings)
    assert container()["envFrom"] == [{"secretRef": {"name": "shop-bot"}}]
    assert "command" not in container()
    assert "args" not in container()


def test_no_secret_is_an_argument_of_a_command() -> None:
    """Whoever may list processes reads arguments, and the shell keeps them."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    for text in blocks:
        assert not SECRETS.search(text)
        assert "--from-literal" not in text
        assert not re.search(r"\s(-e|--env)\s", text)


def test_the_page_says_what_the_files_say() -> None:
    """Stop windows stand in three places; the container's `CMD` has no shell around it."""
    timeout = unit()["Service"]["TimeoutStopSec"][0]
    grace = pod()["terminationGracePeriodSeconds"]
    assert f"`TimeoutStopSec={timeout}`" in PAGE
    assert f"`terminationGracePeriodSeconds: {grace}`" in PAGE
    stops = re.findall(r"--stop-timeout (\d+)", PAGE)
    assert stops
    assert all(int(given) >= Options.flush_timeout + RESERVE for given in stops)
    assert f"`PTB_S3_FLUSH_TIMEOUT` ({Options.flush_timeout:.0f} s)" in PAGE
    assert 'CMD ["python", "bot.py"]' in PAGE


def test_a_bot_is_made_from_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page's bot reads what `LoadCredential` gives it, and its environment has no secret."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "token").write_text("123456:ABC-DEF\n")
    (tmp_path / "env").write_text(f"PTB_S3_BUCKET=my-bucket\nPTB_S3_KEY={Key(bytes(32)).reveal()}")
    for name in [name for name in os.environ if name.startswith("PTB_S3_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    ran: list[Any] = []

    def run_polling(application: Any) -> None:
        ran.append(application)

    monkeypatch.setattr(PersistentApplication, "run_polling", run_polling)
    exec(compile(code, "polling", "exec"), {})  # noqa: S102 - the page's own code
    (application,) = ran
    assert application.bot.token == "123456:ABC-DEF"  # noqa: S105 - of nobody
    assert "bucket" in repr(application.persistence)
    assert not any(name.startswith("PTB_S3_") for name in os.environ)
