"""The named errors: fields, next steps, and the way through the store and back."""

import pickle

import pytest

import faults
from compat import errors

EXAMPLES = [
    errors.BatchAlreadyRunningError("b"),
    errors.BatchNotFoundError("b"),
    errors.InvalidStateTransitionError("b", "Completed", "Pending"),
    errors.OtherInputError("b", "Failed"),
    errors.BatchInfrastructureError("b", "batch_run_dispatch", "refused"),
    errors.PrefectUnavailableError("http://here/api", "ConnectError: refused"),
    errors.WorkflowNotFoundError("e"),
    errors.ActivityFailedError("e", "run_extraction_pipeline", 4, "ValueError: no"),
    errors.OntologyParseError("line 3: no", "turtle", "no"),
    errors.ExtractorNotFoundError("x", "no such module"),
    errors.ExtractorOutputError("graph: no"),
    errors.LeaseLostError("b"),
    errors.SchemaVersionError("main", None, "0002"),
]


def fields(error: errors.KnowledgeBatchError) -> dict[str, object]:
    return {name: getattr(error, name) for name in error.fields}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_from_the_store_as_itself(error: errors.KnowledgeBatchError) -> None:
    stored = errors.StoredError.of(error)
    back = stored.restore()
    assert (type(back), str(back)) == (type(error), str(error))
    assert isinstance(back, errors.KnowledgeBatchError)
    assert fields(back) == fields(error)
    assert stored.terminal == error.terminal


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_crosses_processes(error: errors.KnowledgeBatchError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), fields(back)) == (type(error), fields(error))


def test_every_named_error_is_an_example_here() -> None:
    named = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KnowledgeBatchError)}
    assert named - {errors.KnowledgeBatchError, errors.InvalidInputError} == {type(error) for error in EXAMPLES}


def test_an_error_of_somebody_elses_class_comes_back_as_that_class() -> None:
    back = errors.StoredError.of(faults.FlakyServiceError("not now")).restore()
    assert isinstance(back, faults.FlakyServiceError)
    assert str(back) == "not now"


def test_an_error_whose_class_is_gone_keeps_its_text() -> None:
    back = errors.StoredError("gone.away:LostError", "not now", False).restore()
    assert (type(back), str(back)) == (RuntimeError, "LostError: not now")


def test_an_error_is_transient_unless_it_says_otherwise() -> None:
    assert not errors.is_terminal(faults.FlakyServiceError())
    assert errors.is_terminal(faults.BrokenDocumentError())
    assert errors.is_terminal(errors.OntologyParseError("line 1: no"))
