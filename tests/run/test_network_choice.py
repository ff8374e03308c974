"""A run whose network goes over to OpenVINO is the same run after a resume, and says what its network ran on."""

import pytest
import torch

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.guidance.prior import choice, pretrained
from threefusion.guidance.prior.openvino_network import import_openvino
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.run.folder import checkpoints, new_run_folder, read_report
from threefusion.run.training import train

try:
    import_openvino()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)


class Small(torch.nn.Module):
    """In the place of the U-Net: exported in a moment."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Conv2d(3, 6, 3, padding=1).requires_grad_(False).bfloat16()

    def forward(self, z, timesteps, tokens, return_dict):
        return (self.layer(z) + tokens.mean((1, 2))[:, None, None, None],)


@pytest.mark.usefixtures("terminal")
def test_a_resumed_run_goes_on_with_the_network_it_had(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "FIRST_STEP", 2)
    monkeypatch.setattr(PixelPrior, "denoiser", lambda self: Small())
    monkeypatch.setattr(choice, "best_times", lambda *_, **__: {"eager": 2.0, "openvino": 1.0})
    words = ["guidance.prior={type: pixel, dtype: bfloat16}", "output.checkpoint_interval=1", "output.keep_checkpoints=9"]
    words += ["output.turntable_frames=0"]
    states = {}
    for name, parts in (("whole", [5]), ("resumed", [3, 5])):
        run = new_run_folder(load_config(tiny, [*words, "trainer.max_steps=5"]), tmp_path / name)
        for steps in parts:
            with monkeypatch.context() as later:
                if steps == 5 and name == "resumed":
                    later.setattr(pretrained, "choose", lambda *_: pytest.fail("chosen again"))
                assert train(load_config(run / "config.yaml", [f"trainer.max_steps={steps}"]), run) == 0
        files = checkpoints(run)
        states[name] = [torch.load(file, weights_only=True) for file in files]
        assert read_report(run)["executions"] == ["openvino"]
    assert [state["executions"] for state in states["whole"]] == [[None], [None], ["openvino"], ["openvino"], ["openvino"]]
    last, other = (states[name][-1]["state_dict"] for name in ("whole", "resumed"))
    assert all(torch.equal(last[name], other[name]) for name in last)
    assert "; network on openvino" in capsys.readouterr().out
