"""An untrained CLIP model, saved once."""

import json

import pytest


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A tiny CLIPModel with random weights, a tokenizer and a preprocessor."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from training.text import build_tokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(start=True)
    common = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**common, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = {**common, "image_size": 16, "patch_size": 8}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"size": {"shortest_edge": 16}, "crop_size": 16, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
