"""The named errors: fields, next steps, and the way through the store and back."""

import pickle

import pytest

import faults
from compat import errors, stored_errors

EXAMPLES = [
    errors.BatchAlreadyRunningError("b"),
    errors.BatchNotFoundError("b"),
    errors.InvalidStateTransitionError("b", "Completed", "Pending"),
    errors.OtherInputError("b", "Failed"),
    errors.BatchInfrastructureError("b", "batch_run_dispatch", "refused"),
    errors.HomeUnavailableError("/a/home", "Not a directory"),
    errors.PrefectUnavailableError("http://here/api", "ConnectError: refused"),
    errors.WorkflowNotFoundError("e"),
    errors.ActivityFailedError("e", "run_extraction_pipeline", 4, "ValueError: no"),
    errors.OntologyParseError("line 3: no", "turtle", "no"),
    errors.ExtractorNotFoundError("x", "no such module"),
    errors.ExtractorOutputError("graph: no"),
    errors.AttemptStoppedError(),
    errors.StopBatchError("no tokens are left"),
    errors.LeaseLostError("b"),
    errors.HandedOverError("b"),
    errors.SchemaVersionError("main", None, "0002"),
    errors.StoreUnavailableError("OperationalError: refused"),
    errors.UnkeepableDataError("DataError: too large"),
    errors.InvalidInputError([errors.Problem("concurrency", 21, "at most 20"), errors.Problem("text", "a", "longer")]),
]
# What an extractor's work ends in; no call raises it.
OF_A_DOCUMENT = (errors.ActivityFailedError, errors.ExtractorOutputError, errors.AttemptStoppedError, errors.StopBatchError)
BRANCHES = [errors.Refused, errors.Conflict, errors.NotFound, errors.Infrastructure]


def fields(error: errors.KnowledgeBatchError) -> dict[str, object]:
    return {name: getattr(error, name) for name in error.fields}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_from_the_store_as_itself(error: errors.KnowledgeBatchError) -> None:
    stored = stored_errors.StoredError.of(error)
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
    assert named - {errors.KnowledgeBatchError, *BRANCHES} == {type(error) for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_has_its_branchs_exit_code(error: errors.KnowledgeBatchError) -> None:
    branches = [branch for branch in BRANCHES if isinstance(error, branch)]
    assert [branch.exit_code for branch in branches] == ([] if isinstance(error, OF_A_DOCUMENT) else [error.exit_code])


def test_each_branch_has_the_exit_code_of_its_kind() -> None:
    assert [branch.exit_code for branch in BRANCHES] == [2, 3, 5, 4]


def test_fields_are_taken_in_order_or_by_name_and_stay_what_they_are() -> None:
    error = errors.BatchInfrastructureError(operation="batch_get_status", reason="refused", batch_id="b")
    assert (error.fields, fields(error)["reason"]) == (("batch_id", "operation", "reason", "hint"), "refused")
    assert error != errors.BatchInfrastructureError("b", "batch_get_status", "refused")
    assert fields(pickle.loads(pickle.dumps(error))) == fields(error)


@pytest.mark.parametrize(
    ("operation", "following"),
    [
        ("batch_create_execution", "start the batch again"),
        ("batch_run_dispatch", "go on with knowledge-batch resume b"),
        ("batch_get_status", "ask again"),
    ],
)
def test_what_to_do_next_fits_what_failed(operation: str, following: str) -> None:
    assert str(errors.BatchInfrastructureError("b", operation, "refused")).endswith(following)


def test_an_error_of_somebody_elses_class_comes_back_as_that_class() -> None:
    back = stored_errors.StoredError.of(faults.FlakyServiceError("not now")).restore()
    assert isinstance(back, faults.FlakyServiceError)
    assert str(back) == "not now"


def test_an_error_whose_class_is_gone_keeps_its_text() -> None:
    back = stored_errors.StoredError("gone.away:LostError", "not now", False).restore()
    assert (type(back), str(back)) == (RuntimeError, "LostError: not now")


def test_an_error_is_transient_unless_it_says_otherwise() -> None:
    assert not stored_errors.is_terminal(faults.FlakyServiceError())
    assert stored_errors.is_terminal(faults.BrokenDocumentError())
    assert stored_errors.is_terminal(errors.OntologyParseError("line 1: no"))
