"""Prefect's settings with some of them changed for a while."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_PROFILES_PATH, Settings, temporary_settings

from compat.ids import content_hash


class Made(NamedTuple):
    """Changed settings, and all that they were made of."""

    base: Settings
    changes: Mapping[Any, Any]
    sources: tuple[Any, ...]
    settings: Settings


_MADE: deque[Made] = deque(maxlen=8)


@contextmanager
def changed_settings(changes: Mapping[Any, Any]) -> Iterator[None]:
    """Do as Prefect's ``temporary_settings``, which takes 20 ms of CPU each time; here it takes them once for every batch.

    Settings from files in the working directory are those of the first time, as Prefect's own are.
    """
    context, sources = get_settings_context(), _sources()
    for made in tuple(_MADE):
        if made.base is context.settings and made.changes == changes and made.sources == sources:
            settings = made.settings
            break
    else:
        with temporary_settings(changes) as settings:
            _MADE.append(Made(context.settings, dict(changes), sources, settings))
    with SettingsContext(profile=context.profile, settings=settings):
        yield


def _sources() -> tuple[Any, ...]:
    """Return what tells whether Prefect's settings have changed: a hash of its variables, and when its profiles were written."""
    changed = None
    with suppress(OSError):
        changed = PREFECT_PROFILES_PATH.value().stat().st_mtime_ns
    variables = sorted(item for item in os.environ.items() if item[0].upper().startswith("PREFECT_"))
    # Not the variables: a key may be among them.
    return content_hash(repr(variables)), changed
