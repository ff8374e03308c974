"""Process settings are made before torch is loaded, and never against the user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threefusion.machine import process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kept(monkeypatch):
    """Whether the allocator was told to keep memory."""
    calls = []
    monkeypatch.setattr(process, "is_glibc", lambda: True)
    monkeypatch.setattr(process, "keep_freed_memory", lambda: calls.append(True))
    return calls


def test_defaults(kept):
    environment = {}
    process.prepare_process(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"} and kept == [True]


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_waiting_that_the_user_chose_stays(kept, name):
    environment = {name: "7"}
    process.prepare_process(environment)
    assert environment == {name: "7"}


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1"), ("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.malloc.check=1")]
)
def test_allocation_that_the_user_chose_stays(kept, name, value):
    process.prepare_process({name: value})
    assert not kept


def test_other_libraries_are_left_alone(kept, monkeypatch):
    monkeypatch.setattr(process, "is_glibc", lambda: False)
    process.prepare_process({})
    assert not kept


@pytest.mark.skipif(not process.is_glibc(), reason="a setting of GNU libc")
def test_large_blocks_come_from_the_heap():
    """A freed block of 16 MiB stays with the process after the settings and goes back to the system before."""
    code = (
        "import ctypes, json, sys\n"
        "from threefusion.machine.process import keep_freed_memory\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]\n"
        "pages = lambda: int(open('/proc/self/statm').read().split()[1])\n"
        "def left():\n"
        "    before = pages()\n"
        "    block = libc.malloc(1 << 24)\n"
        "    ctypes.memset(block, 1, 1 << 24)\n"
        "    libc.free(block)\n"
        "    return pages() - before\n"
        "first = left()\n"
        "keep_freed_memory()\n"
        "print(json.dumps([first, left()]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    returned, kept_pages = json.loads(done.stdout)
    assert returned < 1000 and kept_pages > 3000


PROGRAM = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from threefusion.cli import main

class Object:
    def __del__(self):
        print("taken apart", end=" ")

kept, pool = Object(), ThreadPoolExecutor(1)
pool.submit(time.sleep, 0.05)
threading.Thread(target=lambda: time.sleep(0.1) or print("thread", end=" ")).start()
atexit.register(print, "handler", end=" ")
main.VERBS["list"] = type(main.TRAIN)("", lambda parser: None, lambda arguments: print("command", end=" ") or {code})
sys.argv[1:] = ["list"]
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_ends_after_threads_and_handlers_without_taking_objects_apart(code: int, tmp_path: Path):
    source = PROGRAM.replace("{code}", str(code))
    (tmp_path / "own.py").write_text(f"{source}main.program()")
    (tmp_path / "nested.py").write_text(f"{source}(lambda: main.program())()")
    ends = {}
    for name in ("own.py", "nested.py"):
        done = subprocess.run(
            [sys.executable, tmp_path / name], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == code and not done.stderr
        ends[name] = done.stdout.split()
    assert ends["own.py"] == ["command", "thread", "handler"]
    # what runs the program gets control back
    assert ends["nested.py"] == ["command", "thread", "handler", "taken", "apart"]


def test_a_profiler_of_a_program_reports():
    done = subprocess.run([sys.executable, "-m", "cProfile", "launch.py", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert "function calls" in done.stdout and done.returncode == 0
    done = subprocess.run([sys.executable, "-m", "threefusion", "nonsense"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "unknown command" in done.stderr
