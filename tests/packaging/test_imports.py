"""The import contracts of pyproject.toml hold: layers, no circles, settings without torch."""

import pytest

lint_imports = pytest.importorskip("importlinter.cli").lint_imports


def test_import_contracts_hold(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # it would disable all loggers, and later tests in this process would miss their warnings
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    config = request.config.rootpath / "pyproject.toml"
    assert lint_imports(config_filename=str(config), no_cache=True, no_logo=True) == 0, capsys.readouterr().out
