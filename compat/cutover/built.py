"""The migration's risks (CONTRACT 11): what was built against each, and the tests that hold it, by name. One table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Built:
    """What stands against one risk. Whether it holds is read from rows and reports, not written here.

    Attributes:
        title: The risk.
        means: What was built.
        tests: The tests that hold it, as pytest names them.
    """

    title: str
    means: tuple[str, ...]
    tests: tuple[str, ...]


RISKS: Mapping[str, Built] = {
    "R1": Built(
        "failure policies drift between the runtimes",
        ("one policy table for both runtimes (compat/policy.py)", "shadow runs on a tape, compared without tolerance"),
        (
            "tests/parity/test_runtimes_agree.py::test_the_engine_does_what_legacy_does",
            "tests/parity/test_mutations.py::test_a_change_of_the_engines_side_is_reported_in_its_risk",
            "tests/parity/test_shadow.py::test_the_engine_agrees_with_legacy",
        ),
    ),
    "R2": Built(
        "two owners of retries",
        ("retries= on every task, 0 on every flow", "attempts are rows; the retry audit reads code, settings and rows"),
        (
            "tests/flows/test_retry_owner.py::test_attempts_at_the_door_equal_the_budget",
            "tests/reliability/test_retry_rules.py::test_a_second_owner_in_the_code_is_found_at_its_line",
            "tests/models/test_one_owner.py::test_the_client_behind_a_model_retries_nothing",
        ),
    ),
    "R3": Built(
        "rows and statuses that old readers misread",
        ("one table from every state of Prefect to a status (compat/status.py)", "the old readers' queries, frozen"),
        (
            "tests/compat/test_status.py::test_every_state_that_prefect_names_is_mapped_by_name",
            "tests/compat/test_old_reader.py::test_an_old_reader_is_right_on_what_was_written",
            "tests/parity/test_shadow.py::test_a_shadow_changes_no_row_that_anybody_reads",
        ),
    ),
    "R4": Built(
        "state that only one process's memory holds",
        ("claim, lease, cancel, switches, ramp, demotion, tape and shadow requests are rows",),
        (
            "tests/reliability/test_claims.py::test_64_callers_in_4_processes_run_each_batch_once",
            "tests/reliability/test_claims.py::test_a_batch_is_started_here_read_there_cancelled_elsewhere",
            "tests/reliability/test_kills.py::test_a_killed_batch_is_resumed_to_the_undisturbed_result",
        ),
    ),
    "R5": Built(
        "work is repeated because its input isn't recognised",
        ("outcomes by batch and document, model answers by content, read before any work is done",),
        (
            "tests/reliability/test_fault_points.py::test_a_batch_killed_at_a_fault_point_goes_on_exactly",
            "tests/models/test_answers.py::test_a_resume_pays_for_what_is_missing",
            "tests/models/test_answers.py::test_a_shadow_asks_for_nothing_again",
        ),
    ),
    "R6": Built(
        "errors that don't survive the store",
        ("an error is stored by class, fields, text, and whether it is terminal (compat/stored_errors.py)",),
        (
            "tests/compat/test_errors.py::test_an_error_comes_back_from_the_store_as_itself",
            "tests/compat/test_errors.py::test_an_error_whose_class_is_gone_keeps_its_text",
        ),
    ),
    "R7": Built(
        "events late, missing, in another order, or of another batch",
        ("an event is written in the transaction of what it tells, under a key, with the batch's next number",),
        (
            "tests/parity/test_mutations.py::test_a_change_of_the_engines_side_is_reported_in_its_risk",
            "tests/flows/test_demotion.py::test_each_triggers_check_sees_its_fault",
        ),
    ),
    "R8": Built(
        "a failure that should suspend a batch ends it",
        ("a batch that was broken off is resumed in either runtime, and does what is missing",),
        (
            "tests/reliability/test_stops.py::test_sigterm_lets_documents_finish_and_leaves_a_batch_to_resume",
            "tests/reliability/test_stops.py::test_a_stop_behind_the_last_document_leaves_the_resolution_to_a_resume",
            "tests/flows/test_demotion.py::test_what_the_engine_has_in_work_is_handed_over_or_drained",
        ),
    ),
    "R9": Built(
        "the migration grows into the model layer",
        ("extractors are behind one plug; neither runtime imports one",),
        (
            "tests/extraction/test_load_extractor.py::test_the_package_knows_no_prefect",
            "tests/flows/test_contexts.py::test_the_extractors_factory_is_called_once_a_batch",
        ),
    ),
}
