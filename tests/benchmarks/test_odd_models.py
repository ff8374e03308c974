"""A sample of the odd model folders, and whether a wrong answer would be noticed."""

from dataclasses import replace

import pytest

from benchmarks.odd.cases import CASES
from benchmarks.odd_models import answer, main, make_bases
from threefusion.guidance.prior.latent import LatentPrior

SAMPLE = {
    ("scheduler", "flow matching, shift 3"),
    ("scheduler", "EDM"),
    ("U-Net", "guidance-distilled"),
    ("autoencoder", "AutoencoderTiny"),
    ("autoencoder", "VQ"),
    ("text", "model_max_length null"),
    ("text", "names of torch.compile"),
    ("files", "a cut-off fp16 file beside full weights"),
    ("files", "git-lfs pointer of weights"),
    ("pipeline", "Flux"),
}
CHOSEN = [case for case in CASES if (case.kind, case.name) in SAMPLE]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The plain pipelines."""
    folder = tmp_path_factory.mktemp("bases")
    make_bases(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Embeddings of tests stay out of the user's cache."""
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "cache"))


def test_there_are_many_different_folders():
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) >= 60
    assert len(CHOSEN) == len(SAMPLE)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: f"{case.kind}-{case.name}")
def test_an_odd_folder_is_trained_as_diffusers_reads_it_or_refused_in_one_sentence(case, bases, tmp_path):
    assert answer(case, bases, tmp_path)[1] is None


def test_wrong_answers_are_noticed(bases, tmp_path, monkeypatch):
    plain = next(case for case in CASES if case.kind == "plain")
    refused = next(case for case in CHOSEN if case.name == "EDM")
    wrong = {
        "expected to be refused with": replace(plain, refused="flow"),
        "expected to be trained": replace(refused, refused=None),
        "expected 'VQ'": replace(refused, refused="VQ"),
    }
    for index, (problem, case) in enumerate(wrong.items()):
        (tmp_path / str(index)).mkdir()
        assert problem in answer(case, bases, tmp_path / str(index))[1]
    monkeypatch.setattr(LatentPrior, "shift_and_scale", lambda self: (0.0, 0.2))
    (tmp_path / "other").mkdir()
    assert answer(plain, bases, tmp_path / "other") == ("trained", "differs from diffusers in: latents, picture")


def test_an_unknown_kind_is_no_success(capsys):
    assert main(["nothing"]) == 1
