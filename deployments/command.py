"""The command's way in, outside of `flows`: where a folder of a project hides a package of ours, one sentence says so."""

import gc
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("compat", "tasks", "legacy", "flows", "deployments")


def hidden() -> str | None:
    """Return which package of ours is hidden by which folder or file, in words; None if none is."""
    ours = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        found = find_spec(name)
        places = list(found.submodule_search_locations or [found.origin or ""]) if found else []
        if not places:
            return f"the package {name} of knowledge-batch isn't installed; install knowledge-batch again"
        if Path(places[0]).resolve() != ours / name:
            advice = "start the command in another folder, or take that one off PYTHONPATH"
            return f"{places[0]} hides the package {name} of knowledge-batch; {advice}"
    return None


def main() -> None:
    """Run the command."""
    if (reason := hidden()) is not None:
        sys.stderr.write(f"error: {reason}\n")
        # As of any other failure of what surrounds a batch.
        raise SystemExit(4)
    # What is loaded stays. To look through it for garbage, now and once more at the exit, takes a tenth of a short command.
    gc.disable()
    from flows.command import cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
