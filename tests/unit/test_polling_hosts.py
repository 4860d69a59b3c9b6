"""The unit and the manifest for bots that poll: taken by their hosts, with time to save."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from telegram.ext import Application

from ptb_s3 import PersistentApplication
from ptb_s3._keys.keyring import Key
from ptb_s3._options import Options

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "infra" / "systemd" / "shop-bot.service"
MANIFEST = ROOT / "infra" / "kubernetes" / "shop-bot.yaml"
SECURITY = ("security", "--offline=true", "--no-pager")
RELEASE = "1.37"
"""Release of Kubernetes whose schemas the manifest is held against."""
SECRETS = re.compile(r"ptbs3k1_|AKIA|\d{6,}:[\w-]{6,}|(?:KEY|TOKEN|SECRET)\w*=", re.IGNORECASE)
RESERVE = 2.0
"""Seconds that a host has to wait beyond PTB_S3_FLUSH_TIMEOUT, as for the hosts of webhooks."""


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def only_block(language: str) -> str:
    """Return the one block of the page on systemd that is in a language."""
    text = page("systemd.md")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(block)


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


@pytest.fixture(params=["as it is", "with secrets in files"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the unit with a Python that this machine has in the place of the example's."""
    text = UNIT.read_text(encoding="utf-8")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text))
    if request.param != "as it is":
        (tmp_path / f"{UNIT.name}.d").mkdir()
        (tmp_path / f"{UNIT.name}.d" / "override.conf").write_text(only_block("text"))
    return copy


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze`: an optional check, since not every machine has it.

    `infra/test.sh` says where it was not run.
    """
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("optional check: systemd-analyze is not there to verify infra/systemd")
    return subprocess.run(  # noqa: S603 - the program of systemd, and our own unit
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def test_systemd_takes_the_unit(installed: Path) -> None:
    """`systemd-analyze verify` finds nothing, with and without the page's drop-in."""
    run = analyzed("verify", "--man=no", "--recursive-errors=no", installed)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_unit_may_do_as_little_as_the_page_says() -> None:
    """The figure is systemd's, and differs from version to version by tenths."""
    rated = re.search(
        r"level for shop-bot.service: ([\d.]+) (\w+)", analyzed(*SECURITY, UNIT).stdout
    )
    assert rated
    (stated,) = re.findall(r"tells how much .*?: ([\d.]+) of 10", page("systemd.md"))
    assert (abs(float(rated[1]) - float(stated)) < 0.5, rated[2]) == (True, "OK")


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


def test_the_manifest_is_a_deployment() -> None:
    """Kubernetes' own schemas take it, unknown fields being errors, and its selector finds it."""
    deployment = manifest()
    kubernetes_validate.validate(deployment, RELEASE, strict=True)
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_misspelled_field_would_be_found() -> None:
    """Or the test above would prove nothing."""
    deployment = manifest()
    deployment["spec"]["template"]["spec"]["containers"][0]["envfrom"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="envfrom"):
        kubernetes_validate.validate(deployment, RELEASE, strict=True)


def test_the_key_is_a_file_that_the_bot_alone_may_read() -> None:
    """It lies where the variable looks; root's, but for the group that the bot is of."""
    (volume,) = pod()["volumes"]
    (mount,) = container()["volumeMounts"]
    (variable,) = container()["env"]
    assert mount == {"name": volume["name"], "mountPath": "/run/secrets/shop-bot", "readOnly": True}
    assert variable == {"name": "PTB_S3_KEY_FILE", "value": f"{mount['mountPath']}/ptb_s3_key"}
    assert volume["secret"] == {"secretName": "shop-bot-key", "defaultMode": 0o400}
    security = pod()["securityContext"]
    assert security["fsGroup"] == security["runAsGroup"] != 0
    assert "create secret generic shop-bot-key --from-file=ptb_s3_key\n" in page("kubernetes.md")


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


def test_the_page_says_what_the_files_say() -> None:
    """Stop windows stand in three places; the container's `CMD` has no shell around it."""
    timeout = unit()["Service"]["TimeoutStopSec"][0]
    grace = pod()["terminationGracePeriodSeconds"]
    polling = page("polling.md")
    for text in (polling, page("systemd.md")):
        assert f"`TimeoutStopSec={timeout}`" in text
    for text in (polling, page("kubernetes.md")):
        assert f"`terminationGracePeriodSeconds: {grace}`" in text
    stops = re.findall(r"--stop-timeout (\d+)", polling)
    assert stops
    assert all(int(given) >= Options.flush_timeout + RESERVE for given in stops)
    assert f"`PTB_S3_FLUSH_TIMEOUT` ({Options.flush_timeout:.0f} s)" in polling
    assert 'CMD ["python", "bot.py"]' in polling


def test_a_bot_is_made_from_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page's bot reads the token, and ptb-s3 the key, of the files that systemd shows it."""
    code, drop_in = only_block("python"), only_block("text")
    key = Key(bytes(32))
    (tmp_path / "token").write_text("123456:ABC-DEF\n")
    (tmp_path / "ptb_s3_key").write_text(f"{key.reveal()}\n")
    for name in [name for name in os.environ if name.startswith("PTB_S3_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PTB_S3_BUCKET", "my-bucket")
    for name, value in re.findall(r"^Environment=(\w+)=(.+)$", drop_in, re.MULTILINE):
        monkeypatch.setenv(name, value.replace("%d", str(tmp_path)))
    ran: list[Any] = []

    def run_polling(application: Any) -> None:
        ran.append(application)

    monkeypatch.setattr(PersistentApplication, "run_polling", run_polling)
    exec(compile(code, "systemd", "exec"), {})  # noqa: S102 - the page's own code
    (application,) = ran
    assert application.bot.token == "123456:ABC-DEF"  # noqa: S105 - of nobody
    assert "my-bucket" in repr(application.persistence)  # without a key, it would not be made
    assert not any(key.reveal() in value for value in os.environ.values())
