"""A plugin installed with pip is found through its entry point: listed, described, checked, built."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "tangential-damping"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder for PYTHONPATH that holds the worked example as pip leaves it."""
    work = tmp_path_factory.mktemp("pip")
    shutil.copytree(ROOT / "plugins/tangential_damping", work / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(work / "site"), str(work / "source")], check=True, cwd=work, capture_output=True)
    return work


def ask(installed, *words):
    """The command line, far from the repository's own `plugins`."""
    environment = {"PYTHONPATH": f"{installed / 'site'}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=installed, env=environment, timeout=120)


def test_listed_and_described(installed):
    listed = json.loads(ask(installed, "list", "contrast", "--json").stdout)
    found = {component["name"]: component["origin"] for component in listed["components"]}
    assert found[NAME] == "threefusion-tangential-damping 0.1.0" and not listed["problems"]
    described = json.loads(ask(installed, "describe", "contrast", NAME, "--json").stdout)
    assert [field["name"] for field in described["fields"]] == ["damping"]


def test_checked(installed):
    config = installed / "run.yaml"
    config.write_text(f"prompt: {{text: a red car}}\nguidance: {{contrast: {{type: {NAME}, damping: 0.5}}}}\n")
    assert ask(installed, "check", "run.yaml").stdout == "run.yaml: ok\n"
    told = ask(installed, "check", "run.yaml", "guidance.contrast.dampin=1")
    assert told.returncode == 2
    assert told.stderr == f"command line: guidance.contrast.dampin: unknown field of contrast '{NAME}'. Did you mean 'damping'?\n"


def test_built_and_held_to_its_contract(installed):
    code = f"from threefusion.testing import check_component; check_component('contrast', '{NAME}')"
    environment = {"PYTHONPATH": f"{installed / 'site'}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=installed, env=environment, timeout=120)


def test_a_second_copy_in_plugins_is_an_error_that_names_both(installed):
    shutil.copytree(installed / "source", installed / "twice/plugins/tangential_damping")
    config = installed / "twice/run.yaml"
    config.write_text(f"prompt: {{text: a cat}}\nguidance: {{contrast: {NAME}}}\n")
    told = ask(installed, "check", "twice/run.yaml")
    assert told.returncode == 2 and told.stderr.count("\n") == 1
    assert "is registered twice" in told.stderr and "site/tangential_damping/settings.py" in told.stderr
    assert "plugins/tangential_damping" in told.stderr


def test_an_entry_point_without_its_module_is_named(installed):
    broken = installed / "broken"
    shutil.copytree(installed / "site", broken)
    shutil.rmtree(broken / "tangential_damping")
    environment = {"PYTHONPATH": f"{broken}:{ROOT}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, str(ROOT / "launch.py"), "describe", "contrast", NAME]
    told = subprocess.run(command, capture_output=True, text=True, cwd=installed, env=environment, timeout=60)
    assert told.returncode == 2 and "names the module 'tangential_damping', which does not exist" in told.stderr
