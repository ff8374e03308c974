"""Random pipelines, saved once per session."""

import pytest
from tiny import save_tiny_flux, save_tiny_if, save_tiny_sd, save_tiny_sd3, save_tiny_sdxl
from tiny_conditioned import save_picture, save_tiny_if_ii, save_tiny_mvdream, save_tiny_zero123


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """Folders by name."""
    folder = tmp_path_factory.mktemp("pipelines")
    return {
        "if-6": save_tiny_if(folder / "if-6", 6),
        "if-3": save_tiny_if(folder / "if-3", 3),
        "if-v": save_tiny_if(folder / "if-v", 3, "v_prediction"),
        "sd-epsilon": save_tiny_sd(folder / "sd-epsilon"),
        "sd-v": save_tiny_sd(folder / "sd-v", "v_prediction", hidden_act="gelu"),
        "if-ii": save_tiny_if_ii(folder / "if-ii"),
        "mvdream": save_tiny_mvdream(folder / "mvdream"),
        "zero123": save_tiny_zero123(folder / "zero123"),
        "picture": save_picture(folder / "picture.png"),
        "sdxl": save_tiny_sdxl(folder / "sdxl"),
        "sdxl-encoded": save_tiny_sdxl(folder / "sdxl-encoded", zeros=False),
        "sd3": save_tiny_sd3(folder / "sd3"),
        "sd3-without-t5": save_tiny_sd3(folder / "sd3-without-t5", with_t5=False),
        "flux-dev": save_tiny_flux(folder / "flux-dev"),
        "flux-schnell": save_tiny_flux(folder / "flux-schnell", guided=False),
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Embeddings of tests stay out of the user's cache."""
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "cache"))
