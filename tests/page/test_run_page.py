"""The page of a run: complete, self-contained, escaped, and never the end of a run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from threefusion.cli.main import run as call
from threefusion.errors import UserError
from threefusion.evaluate.keys import SECTIONS as EVALUATED
from threefusion.page.markup import VOID, element
from threefusion.page.run import HEADLINES
from threefusion.page.scores import MEANINGS, SECTIONS, number, value_text
from threefusion.run import page as pages
from threefusion.run.facts import MOST_PREVIEWS, thinned
from threefusion.run.folder import open_run
from threefusion.run.page import add_page, refresh_page, write_page

MakeRun = Callable[..., Path]


class Structure(HTMLParser):
    """Fails on tags that do not close; collects addresses, text, scripts, styles and the security policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.parts: dict[str, list[str]] = {}
        self.names: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append((tag, dict(attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
            self.parts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.parts[self.open[-1]][-1] += data
        if not {"script", "style"} & set(self.open):
            self.text += data


def test_the_page_shows_all_that_the_run_has(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "optimizer.lr=0.02")
    page = write_page(run).read_text(encoding="utf-8")
    found = Structure(page)
    for shown in (
        "0.500",
        "760 MB",
        "Ground truth",
        "overlap of the silhouettes, 1 is the ground truth",
        "guidance 1.0 s, 50 %",
        "step 18",
    ):
        assert shown in found.text, shown
    assert "skill" not in found.text  # it is null
    rows = ["".join(row) for row in re.findall(r"<tr[^>]*><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>", page)]
    assert "optimizer.lr0.01" in rows and "trainer.max_steps12" in rows
    assert re.search(r'<td class="text">optimizer.lr</td><td class="text">0.01</td><td class="text">0.02</td>', page)
    assert f"python launch.py train --config {run}/config.yaml" in found.text
    scripts = [text for (tag, _), text in zip([n for n in found.names if n[0] == "script"], found.parts["script"], strict=True)]
    assert base64.b64encode((run / "mesh/model.glb").read_bytes()).decode() in scripts
    previews, metrics = (json.loads(text) for text in scripts if text.startswith("{"))
    assert previews["steps"] == [6, 12, 18] and len(set(previews["pictures"])) == 3
    assert [curve["name"] for curve in metrics["curves"]] == ["loss", "sparsity"]
    assert metrics["curves"][0]["values"][-1] == pytest.approx(3 - 17 / 9, abs=1e-4)
    assert any(address.startswith("data:video/mp4;base64,") for address in found.addresses)
    assert len(page) < 5_000_000


def test_nothing_outside_the_page_is_loaded_and_no_text_becomes_markup(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a <i>folder</i> \"&' #1")
    write_report(run, warnings=["<img src=x onerror=alert(1)>"])
    page = write_page(run).read_text(encoding="utf-8")
    found = Structure(page)
    assert "<b>ball</b>" not in page and "alert('x')</script>" not in page and "<i>folder" not in page
    assert "a \"red\" <b>ball</b> & </script><script>alert('x')</script> ${seed} 'q'" in found.text
    assert "<img src=x onerror=alert(1)>" in found.text
    links = [
        address for address in found.addresses if not address.startswith(("data:image/jpeg;base64,", "data:video/mp4;base64,"))
    ]
    assert links == ["mesh/model.glb", "turntable.mp4", "config.yaml", "metrics.csv", "report.json"]
    assert not any(name.startswith("on") or name == "style" for _, attributes in found.names for name in attributes)
    (policy,) = [names["content"] for tag, names in found.names if tag == "meta" and names.get("http-equiv")]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    script = next(text for (tag, names), text in scripts_of(found) if names.get("type") == "module")
    for kind, text in (("script", script), ("style", found.parts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def scripts_of(found: Structure) -> zip:
    """Scripts with their attributes."""
    return zip([name for name in found.names if name[0] == "script"], found.parts["script"], strict=True)


def write_report(run: Path, **changes: object) -> None:
    """Change entries of report.json."""
    path = run / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_score_has_a_meaning() -> None:
    evaluated = {f"{section}.{key}" for section, keys in EVALUATED.items() for key in keys}
    assert evaluated <= MEANINGS.keys() and set(HEADLINES) <= MEANINGS.keys()
    assert {name.partition(".")[0] for name in MEANINGS} == set(SECTIONS)
    assert len({meaning.text for meaning in MEANINGS.values()}) == len(MEANINGS)


def test_numbers_are_written_as_people_read_them() -> None:
    values = {"cost.peak_memory_bytes": 760_438_784, "a": True, "b": None, "c": 12345, "d": 0.12345, "e": "ball"}
    assert [value_text(name, value) for name, value in values.items()] == ["760 MB", "yes", "–", "12,345", "0.123", "ball"]
    assert (number(1234.5), number(20.04), number(0.5, beside=30.0)) == ("1,234", "20.0", "0.5")
    assert element("p", "<", element("br"), title='"') == '<p title="&quot;">&lt;<br></p>'


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b'{"artifacts": 3, "metrics": [1], "warnings": 5, "phase_seconds": {"a": "b"}}'],
)
@pytest.mark.parametrize(
    "name", ["report.json", "evaluation.json", "environment.json", "metrics.csv", "images/000012.png", "mesh/model.glb"]
)
def test_a_damaged_file_costs_what_it_holds(make_run: MakeRun, tmp_path: Path, name: str, content: bytes) -> None:
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(content)
    Structure(write_page(run).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["report.json", "environment.json", "metrics.csv", "images", "mesh", "turntable.mp4"])
def test_a_missing_file_costs_what_it_holds(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    (run / name).rename(tmp_path / "elsewhere")
    page = write_page(run).read_text(encoding="utf-8")
    Structure(page)
    assert ('id="viewer"' in page) == (name != "mesh") and ('id="slider"' in page) == (name != "images")
    assert ('class="state stopped"' in page) == (name == "report.json")


def test_files_outside_the_run_are_not_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "secret.glb").write_bytes(b"of another folder")
    write_report(run, artifacts={"mesh": "../secret.glb", "video": str(tmp_path / "secret.glb")})
    page = write_page(run).read_text(encoding="utf-8")
    assert base64.b64encode(b"of another folder").decode() not in page and "secret" not in page


def test_warnings_come_from_the_report_the_metrics_and_the_age_of_the_evaluation(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "evaluation.json").write_text(json.dumps({"truth": {"f_score": 0.25}, "notes": {}, "run": {}}))
    write_report(run, warnings=["it looks like a ball"])
    (run / "metrics.csv").write_text("step,skipped,opacity\n9,0,0.2\n19,0.1,0.00001\nx,y\n")
    text = Structure(write_page(run).read_text(encoding="utf-8")).text
    for warning in (
        "it looks like a ball",
        "in 1 of 2 rows",
        "has vanished",
        "lines that are no metrics",
        "evaluation.json is older",
    ):
        assert warning in text, warning
    assert "0.250" in text


@pytest.mark.parametrize("exporter", ["mesh", "null"])
def test_a_run_that_should_have_exported_is_warned_about(make_run: MakeRun, tmp_path: Path, exporter: str) -> None:
    run = make_run(tmp_path / "run", f"exporter={exporter}")
    report = json.loads((run / "report.json").read_text())
    del report["export"]
    (run / "report.json").write_text(json.dumps(report | {"artifacts": {"mesh": None}}))
    text = Structure(write_page(run).read_text(encoding="utf-8")).text
    assert ("nothing was exported" in text) == ("Warnings" in text) == (exporter == "mesh")


@pytest.mark.usefixtures("terminal")
def test_a_page_that_cannot_be_written_is_one_line(make_run: MakeRun, tmp_path: Path, monkeypatch, capsys) -> None:
    run = make_run(tmp_path / "run")
    config = open_run(run)
    errors = {
        "the disk is full": UserError("the disk is full"),
        "a bug": ZeroDivisionError("a bug"),
        "MemoryError": MemoryError(),
    }
    for problem, error in errors.items():
        monkeypatch.setattr(pages, "write_page", raising(error))
        add_page(run, config)
        assert not refresh_page(run)
        lines = capsys.readouterr().err.splitlines()
        assert lines == [f"{run}/index.html: not written: {problem}"] * 2
    assert not (run / "index.html").exists()


def raising(error: Exception) -> Callable[..., None]:
    """A function that raises."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.usefixtures("terminal")
def test_another_file_of_that_name_is_kept(make_run: MakeRun, tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run")
    (run / "index.html").write_text("my notes")
    write_page(run)
    write_page(run)
    assert (run / "index.kept-1.html").read_text() == "my notes" and not (run / "index.kept-2.html").exists()
    assert capsys.readouterr().err == f"{run}/index.html: not a page of a run; kept as index.kept-1.html\n"


def test_a_run_without_anything_to_see_gets_no_page(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "made")
    empty = tmp_path / "run"
    empty.mkdir()
    for name in ("config.yaml", "environment.json"):
        (run / name).rename(empty / name)
    add_page(empty, open_run(empty))
    assert {path.name for path in empty.iterdir()} == {"config.yaml", "environment.json"}


@pytest.mark.usefixtures("terminal")
def test_the_page_of_a_run_whose_config_is_refused_shows_no_defaults(make_run: MakeRun, tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("type: diffuse", "type: of-a-missing-plugin"))
    page = write_page(run).read_text(encoding="utf-8")
    assert "of-a-missing-plugin" in page and 'id="only-set"' not in page
    assert "shows no defaults" in capsys.readouterr().err
    (run / "config.yaml").write_text("{")
    with pytest.raises(UserError, match=r"config\.yaml"):
        write_page(run)


def test_eval_and_export_write_the_page_again(make_run: MakeRun, tmp_path: Path, monkeypatch) -> None:
    run = make_run(tmp_path / "run", "exporter=mesh")

    def evaluate(folder: Path, *_: object) -> dict[str, Any]:
        (folder / "evaluation.json").write_text(json.dumps({"truth": {"f_score": 0.375}}))
        return {}

    monkeypatch.setattr("threefusion.evaluate.evaluate.evaluate_run", evaluate)
    monkeypatch.setattr("threefusion.evaluate.report.summaries", lambda _: [])
    monkeypatch.setattr("threefusion.run.results.export", lambda *_: [])
    gallery = tmp_path / "index.html"
    gallery.touch()
    assert call(["eval", str(gallery), str(run), "--json"]) == 0
    assert "0.375" in (run / "index.html").read_text(encoding="utf-8")
    (run / "index.html").unlink()
    assert call(["export", str(run)]) == 0
    assert (run / "index.html").is_file()


def test_large_files_are_linked(make_run: MakeRun, tmp_path: Path, monkeypatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr("threefusion.page.run.MOST_BYTES", 100)
    page = write_page(run).read_text(encoding="utf-8")
    assert 'id="choose"' in page and 'id="mesh"' not in page and "data:video" not in page
    assert Structure(page).addresses.count("turntable.mp4") == 2


def test_stages_follow_each_other(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for number_, name in ((1, "coarse"), (2, "fine"), (10, "last")):
        folder = run / "stages" / f"{number_}-{name}"
        folder.mkdir(parents=True)
        (run / "images").rename(folder / "images") if number_ == 1 else (folder / "images").mkdir()
        (folder / "metrics.csv").write_text(f"step,loss\n9,{number_}\n")
        (folder / "report.json").write_text(json.dumps({"steps": 18}))
    found = Structure(write_page(run).read_text(encoding="utf-8"))
    metrics = next(json.loads(text) for (_, names), text in scripts_of(found) if names.get("id") == "metrics")
    assert metrics["stages"] == [["coarse", 0], ["fine", 18], ["last", 36]]
    assert metrics["curves"] == [{"name": "loss", "steps": [9, 27, 45], "values": [1.0, 2.0, 10.0]}]


def test_many_previews_are_thinned_out() -> None:
    previews = [(step, Path(str(step))) for step in range(0, 1000, 10)]
    chosen = thinned(previews)
    assert len(chosen) == MOST_PREVIEWS and (chosen[0], chosen[-1]) == (previews[0], previews[-1])
    assert thinned(previews[:5]) == previews[:5] and thinned([]) == []
