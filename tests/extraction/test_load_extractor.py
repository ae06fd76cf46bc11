import subprocess
import sys
from pathlib import Path

import pytest

from compat.errors import ExtractorNotFoundError, InvalidInputError
from tasks.extraction import RulesExtractor, load_extractor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    return tmp_path


def test_rules_is_the_extractor_of_rules() -> None:
    assert isinstance(load_extractor("rules"), RulesExtractor)


def test_a_factory_of_a_module_gives_its_extractor() -> None:
    assert isinstance(load_extractor("tasks.extraction:RulesExtractor"), RulesExtractor)


def test_a_module_in_the_current_folder_is_found(folder: Path) -> None:
    (folder / "mine_here.py").write_text("class Mine:\n    def run(self, text, ontology_content, config): return {}\n")
    assert type(load_extractor("mine_here:Mine")).__name__ == "Mine"


def test_linear_without_a_model_names_the_variable_and_the_command(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match=r"KNOWLEDGE_LINEAR_MODEL = '': .*knowledge-batch train"):
        load_extractor("linear")


def test_llm_without_a_model_names_the_variable(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="KNOWLEDGE_LLM_MODEL = None: name the model as provider:model"):
        load_extractor("llm")


def test_neither_the_package_nor_an_import_of_flows_loads_the_models_clients() -> None:
    code = "import sys, flows, flows.command.cli; sys.exit(bool({'pydantic_ai', 'openai', 'prefect'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["", "rule", "a.b", ":factory", "module:"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(ExtractorNotFoundError, match=r"package\.module:factory"):
        load_extractor(name)


def test_a_module_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ExtractorNotFoundError, match="no module nowhere_at_all"):
        load_extractor("nowhere_at_all.inside:factory")


def test_a_module_in_a_package_that_ours_hides_is_named_as_such(folder: Path) -> None:
    (folder / "tasks").mkdir()
    (folder / "tasks" / "mine.py").write_text("", encoding="utf-8")
    with pytest.raises(ExtractorNotFoundError, match="its tasks is hidden by knowledge-batch's own: give yours another name"):
        load_extractor("tasks.mine:factory")


def test_a_factory_that_is_not_there_is_named() -> None:
    with pytest.raises(ExtractorNotFoundError, match="has no factory"):
        load_extractor("tasks.extraction:factory")


def test_a_product_that_cannot_run_is_refused() -> None:
    with pytest.raises(ExtractorNotFoundError, match="no run method"):
        load_extractor("builtins:dict")


def test_what_a_module_raises_itself_comes_through(folder: Path) -> None:
    (folder / "broken_inside.py").write_text("raise RuntimeError('broken inside')\n")
    with pytest.raises(RuntimeError, match="broken inside"):
        load_extractor("broken_inside:factory")


def test_a_module_that_misses_another_says_which(folder: Path) -> None:
    (folder / "misses_another.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_extractor("misses_another:factory")


def test_the_package_knows_no_prefect() -> None:
    code = "import sys, tasks.extraction; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
