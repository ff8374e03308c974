import torch

from threefusion.geometry.canvas import Canvas
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import CanvasConfig


def test_a_canvas_starts_grey_and_can_become_any_picture():
    canvas = Canvas(CanvasConfig(height=4, width=6), BuildContext(3))
    assert torch.equal(canvas.canvas(), torch.full((4, 6, 3), 0.5))
    target = torch.rand(4, 6, 3) * 0.8 + 0.1
    canvas.load_state_dict({"logits": target.logit()})
    assert torch.allclose(canvas.canvas(), target)
    canvas.canvas().sum().backward()
    assert torch.allclose(canvas.logits.grad, target * (1 - target))
