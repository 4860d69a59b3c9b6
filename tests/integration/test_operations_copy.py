"""``ptb-s3 copy``: a state moves to another place, and a bot goes on there."""

from __future__ import annotations

from pathlib import Path

from tests.integration.operators import COMMITS, Operator, employed, state_after
from tests.support import KEY, OTHER_KEY, update

from ptb_s3._format.container import HEAD, read_header
from ptb_s3._format.entities import Kind


async def test_to_another_prefix(operator: Operator) -> None:
    """All of it is there, under the same store's id; what lay at the old place is as it was."""
    target = f"s3://{operator.bucket}/new/"
    before = await operator.listing()
    dry = await operator.done("copy", target, "--dry-run")
    assert "Nothing was changed" in dry.stdout
    assert await operator.listing() == before
    done = await operator.done("copy", target)
    assert f"Copied revision {COMMITS} to {target}, as revision {COMMITS + 1}" in done.stdout
    assert "history stays" in done.stderr
    assert await operator.state(prefix="new/") == state_after(COMMITS)
    assert set(before) <= set(await operator.listing())
    ids = [
        (await operator.done("status", "--json", PTB_S3_PREFIX=prefix)).json["store"]
        for prefix in ("bot/", "new/")
    ]
    assert ids[0] == ids[1]


async def test_a_bot_goes_on_there(operator: Operator) -> None:
    await operator.done("copy", f"s3://{operator.bucket}/new/")
    environment = {"PTB_S3_PREFIX": "new/"}
    assert (await operator.done("verify", **environment)).stdout.startswith("All is well")
    store = operator.store("new/")
    from tests.support import make_persistence, state_of  # noqa: PLC0415 - of this test alone

    persistence = make_persistence(store)
    await state_of(persistence, "order")
    await update(persistence, {"bot_data": {"orders": "there"}})
    await persistence.flush()
    assert (await operator.state(prefix="new/"))["bot_data"] == {"orders": "there"}
    assert await operator.state() == state_after(COMMITS)


async def test_to_settings_of_its_own(operator: Operator, tmp_path: Path) -> None:
    """Another provider has credentials and a key of its own; the environment's are not used."""
    async with employed(operator.server) as other:
        file = tmp_path / "there.env"
        lines = {**other.environment(PTB_S3_KEY=OTHER_KEY.reveal(), PTB_S3_PREFIX="there/")}
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        await operator.done("copy", "--to-env", file)
        assert await other.state(OTHER_KEY, prefix="there/") == state_after(COMMITS)
        for name in (HEAD, *Kind):
            store = other.store("there/")
            found = await store.get(name)
            await store.close()
            assert found is None or read_header(name, found.body)[0].key == OTHER_KEY.id


async def test_to_where_aws_variables_of_the_file_lead(operator: Operator, tmp_path: Path) -> None:
    """Not to AWS, nor to where the environment's lead; a profile that is missing is told."""
    file = tmp_path / "there.env"
    there = operator.environment(PTB_S3_PREFIX="there/", PTB_S3_ENDPOINT_URL="")
    there["AWS_ENDPOINT_URL_S3"] = operator.server.endpoint_url
    file.write_text("".join(f"{name}={value}\n" for name, value in there.items()))
    await operator.done("copy", "--to-env", file, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    assert await operator.state(prefix="there/") == state_after(COMMITS)
    with file.open("a") as lines:
        lines.write("AWS_PROFILE=missing\nPTB_S3_PREFIX=elsewhere/\n")
    assert "AWS_PROFILE" in await operator.fails(7, "copy", "--to-env", file)


async def test_a_state_is_not_copied_over(operator: Operator) -> None:
    await operator.done("copy", f"s3://{operator.bucket}/new/")
    said = await operator.fails(6, "copy", f"s3://{operator.bucket}/new/")
    assert "There is a state at" in said
    said = await operator.fails(6, "copy", f"s3://{operator.bucket}/bot/")
    assert "There is a state at" in said
    assert "Give the other place" in await operator.fails(2, "copy")
    assert "names no bucket" in await operator.fails(2, "copy", "elsewhere")
    assert "no such file" in await operator.fails(2, "copy", "--to-env", "missing.env")
    assert KEY.reveal() not in said
