"""The automations as code: there once however often they are applied, and heard by a real server."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate

from compat.errors import InvalidInputError
from flows.operations import automations

NAMES = (automations.NOTIFY, automations.DEMOTED, automations.ZOMBIES)


def there() -> dict[str, str]:
    """The first action's type of every automation of ours, by name."""
    with get_client(sync_client=True) as client:
        found = [each for name in NAMES for each in client.read_automations_by_name(name)]
    assert len(found) == len({each.name for each in found})
    return {each.name: each.actions[0].type for each in found}


def enabled() -> set[bool]:
    with get_client(sync_client=True) as client:
        names = NAMES
        return {each.enabled for name in names for each in client.read_automations_by_name(name)}


def test_applied_twice_they_are_there_once(prefect_server: None) -> None:
    automations.apply(automations.NOBODY)
    automations.apply()
    silent = dict.fromkeys((automations.NOTIFY, automations.DEMOTED), "do-nothing")
    assert there() == {**silent, automations.ZOMBIES: "change-flow-run-state"}


def test_a_block_that_is_named_is_notified(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        kind = client.read_block_type_by_slug("slack-webhook")
        schema = client.get_most_recent_block_schema_for_block_type(kind.id)
        assert schema is not None
        block = BlockDocumentCreate(
            name="operations", block_type_id=kind.id, block_schema_id=schema.id, data={"url": "https://localhost/nobody"}
        )
        client.create_block_document(block)
    automations.apply("slack-webhook/operations")
    assert {there()[name] for name in (automations.NOTIFY, automations.DEMOTED)} == {"send-notification"}
    # Whoever starts the stack or applies a release knows nothing of the block.
    automations.apply()
    assert there()[automations.NOTIFY] == "send-notification"
    automations.apply("none")
    assert there()[automations.NOTIFY] == "do-nothing"


def test_one_that_was_switched_off_stays_so(prefect_server: None) -> None:
    automations.apply()
    with get_client(sync_client=True) as client:
        for name in NAMES:
            for found in client.read_automations_by_name(name):
                client.pause_automation(found.id)
    automations.apply()
    assert enabled() == {False}
    with get_client(sync_client=True) as client:
        for name in NAMES:
            for found in client.read_automations_by_name(name):
                client.resume_automation(found.id)
    automations.apply()
    assert enabled() == {True}


def test_a_block_that_is_missing_is_refused_by_name(prefect_server: None) -> None:
    with pytest.raises(InvalidInputError, match="--notify = 'slack-webhook/nobody'"):
        automations.apply("slack-webhook/nobody")
