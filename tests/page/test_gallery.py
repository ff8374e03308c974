"""The page of many runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from threefusion.cli.main import run as call
from threefusion.errors import UserError
from threefusion.run.gallery import write_gallery

MakeRun = Callable[..., Path]


def data_of(page: Path) -> dict:
    """What the page's script reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[1])


@pytest.fixture
def runs(make_run: MakeRun, tmp_path: Path) -> Path:
    """Three runs, one of them in a folder with an odd name."""
    folder = tmp_path / "runs"
    make_run(folder / "tiny/a-1", "seed=1", iou=0.2)
    make_run(folder / "tiny/a-2", "seed=2", iou=0.9, prompt="a blue ball")
    make_run(folder / "odd #name%/b-1", "optimizer.lr=0.5", iou=0.4)
    return folder


def test_it_links_every_run_and_writes_the_missing_pages(runs: Path, capsys) -> None:
    assert call(["gallery", str(runs)]) == 0
    page = runs / "index.html"
    assert capsys.readouterr().out == f"3 runs: {page}\n"
    data = data_of(page)
    links = [runs / unquote(run["link"]) for run in data["runs"]]
    assert len(links) == 3 and all(link.is_file() for link in links)
    assert {run["link"] for run in data["runs"]} >= {"odd%20%23name%25/b-1/index.html"}
    differing = {key for run in data["runs"] for key in run["settings"]}
    assert {"seed", "prompt.text", "optimizer.lr"} <= differing and not differing & data["shared"].keys()
    assert data["shared"]["trainer.max_steps"] == "12"
    assert data["scores"]["truth.silhouette_iou"]["better"] == 1 and data["scores"]["cost.seconds"]["better"] == -1
    by_folder = {run["folder"]: run for run in data["runs"]}
    assert by_folder["tiny/a-2"]["scores"]["truth.silhouette_iou"] == [0.9, "0.900"]
    assert by_folder["tiny/a-2"]["picture"].startswith("data:image/jpeg;base64,")
    text = page.read_text(encoding="utf-8")
    assert "<b>ball</b>" not in text and "default-src 'none'" in text and "http" not in re.sub("http-equiv", "", text)


def test_pages_are_written_again_when_they_are_old(runs: Path) -> None:
    write_gallery(runs, runs / "index.html")
    page = runs / "tiny/a-1/index.html"
    first = page.stat().st_mtime_ns
    write_gallery(runs, runs / "index.html")
    assert page.stat().st_mtime_ns == first
    os.utime(page.parent / "report.json", ns=(first + 10**9, first + 10**9))
    write_gallery(runs, runs / "index.html")
    second = page.stat().st_mtime_ns
    assert second > first
    write_gallery(runs, runs / "index.html", redo=True)
    other = runs / "tiny/a-2/index.html"
    assert other.stat().st_mtime_ns > second


def test_the_page_can_lie_elsewhere(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages/all.html"
    assert call(["gallery", str(runs), "--out", str(out)]) == 0
    assert all((out.parent / unquote(run["link"])).is_file() for run in data_of(out)["runs"])
    assert not (runs / "index.html").exists()


def test_a_page_of_another_kind_is_not_replaced(runs: Path) -> None:
    (runs / "index.html").write_text("the table of a benchmark")
    with pytest.raises(UserError, match="is no gallery, and would be replaced"):
        call(["gallery", str(runs)])
    assert (runs / "index.html").read_text() == "the table of a benchmark" and not (runs / "tiny/a-1/index.html").exists()


@pytest.mark.usefixtures("terminal")
def test_what_cannot_be_read_is_named_and_left_out(runs: Path, capsys) -> None:
    (runs / "tiny/a-1/config.yaml").write_text("{")
    (runs / "tiny/a-2/images/000018.png").write_bytes(b"no picture")
    (runs / "odd #name%/b-1/report.json").write_text("[]")
    assert write_gallery(runs, runs / "index.html")[1] == 2
    errors = capsys.readouterr().err
    assert f"{runs}/tiny/a-1: left out: " in errors and errors.count("\n") == 1
    by_folder = {run["folder"]: run for run in data_of(runs / "index.html")["runs"]}
    assert by_folder["tiny/a-2"]["picture"] is None and by_folder["odd #name%/b-1"]["state"] == "stopped"


def test_one_run_gets_its_page(runs: Path, capsys) -> None:
    run = runs / "tiny/a-1"
    assert call(["gallery", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/index.html\n" and (run / "index.html").is_file()
    with pytest.raises(UserError, match="is a run, whose page is"):
        call(["gallery", str(run), "--out", "x.html"])


@pytest.mark.parametrize(("name", "message"), [("missing", "no such folder"), ("empty", "no run folder in it or below it")])
def test_a_folder_without_runs_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        call(["gallery", str(tmp_path / name)])
    assert not (tmp_path / "empty/index.html").exists()


def test_a_run_that_is_trained_is_shown_as_running(runs: Path) -> None:
    run = runs / "tiny/a-1"
    (run / "report.json").unlink()
    lines = ["import sys, time", "from pathlib import Path", "from threefusion.run.folder import writing"]
    lines += ["with writing(Path(sys.argv[1])):", "    print(flush=True)", "    time.sleep(60)"]
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines), str(run)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        write_gallery(runs, runs / "index.html")
        process.kill()
    by_folder = {shown["folder"]: shown for shown in data_of(runs / "index.html")["runs"]}
    assert by_folder["tiny/a-1"]["state"] == "running" and by_folder["tiny/a-1"]["link"] is None
    write_gallery(runs, runs / "index.html")
    by_folder = {shown["folder"]: shown for shown in data_of(runs / "index.html")["runs"]}
    assert by_folder["tiny/a-1"]["state"] == "stopped" and by_folder["tiny/a-1"]["link"]
