"""The odd model folders, and whether each is trained or with which words it is refused."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.odd.folders import (
    TEXT,
    TINY,
    UNET,
    VAE,
    Case,
    cast,
    cut,
    dangling,
    fields,
    listed,
    only,
    other_pipeline,
    prefixed,
    removed,
    renamed,
    scheduler,
    shards,
    unet,
    vae,
    weights,
    with_lora,
    written,
)

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3438167540\n"
PLAIN_BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
}  # fmt: skip

PLAIN = [
    Case("plain", "Stable Diffusion"),
    Case("plain", "Stable Diffusion, velocity", base="sd-v"),
    Case("plain", "DeepFloyd IF, six channels", base="if"),
    Case("plain", "DeepFloyd IF, three channels", base="if-3"),
]

SCHEDULERS = [
    *(
        Case("scheduler", name, changes=(scheduler(f"{name}Scheduler", beta_schedule="scaled_linear", prediction_type=target),))
        for name, target in (
            ("PNDM", "epsilon"), ("EulerDiscrete", "v_prediction"), ("EulerAncestralDiscrete", "epsilon"), ("DDPM", "sample"),
            ("HeunDiscrete", "epsilon"), ("LMSDiscrete", "v_prediction"), ("DPMSolverMultistep", "sample"),
            ("UniPCMultistep", "v_prediction"), ("DEISMultistep", "epsilon"), ("KDPM2Discrete", "epsilon"),
        )
    ),
    Case("scheduler", "zero terminal SNR", changes=(
        scheduler("DDIMScheduler", rescale_betas_zero_snr=True, prediction_type="v_prediction"),)),
    Case("scheduler", "trained betas", changes=(
        scheduler("DDPMScheduler", trained_betas=[0.001 * k for k in range(1, 101)], num_train_timesteps=100),)),
    Case("scheduler", "absent fields", changes=(
        scheduler("PNDMScheduler"), fields("scheduler", "beta_start", "beta_end", "beta_schedule", "prediction_type"))),
    Case("scheduler", "fields left by another sampler", changes=(fields("scheduler", algorithm_type="deis", rho=7.0),),
         refused="rho is 7.0: not a field"),
    Case("scheduler", "a sampler's leftover", changes=(fields("scheduler", algorithm_type="deis"),)),
    Case("scheduler", "flow matching, shift 3", changes=(scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0),)),
    Case("scheduler", "flow matching over pixels", base="if-3", changes=(scheduler("FlowMatchHeunDiscreteScheduler"),)),
    Case("scheduler", "UniPC on a flow", changes=(
        scheduler("UniPCMultistepScheduler", use_flow_sigmas=True, flow_shift=2.0, prediction_type="flow_prediction"),)),
    Case("scheduler", "empty settings", "_class_name is null", (written("scheduler/scheduler_config.json", "{}"),)),
    Case("scheduler", "no class anywhere", "_class_name is null", (
        fields("scheduler", "_class_name"), listed("scheduler", None))),
    Case("scheduler", "LCM", "has no score", (scheduler("LCMScheduler"),)),
    Case("scheduler", "TCD", "has no score", (scheduler("TCDScheduler"),)),
    Case("scheduler", "consistency model", "has no score", (scheduler("CMStochasticIterativeScheduler"),)),
    Case("scheduler", "EDM", "EDM's scaling", (scheduler("EDMEulerScheduler"),)),
    Case("scheduler", "EDM over DPM-Solver", "EDM's scaling", (scheduler("EDMDPMSolverMultistepScheduler"),)),
    Case("scheduler", "dynamic shift", "use_dynamic_shifting", (
        scheduler("FlowMatchEulerDiscreteScheduler", use_dynamic_shifting=True),)),
    Case("scheduler", "flow prediction on a table", 'prediction_type is "flow_prediction"', (
        scheduler("UniPCMultistepScheduler", prediction_type="flow_prediction"),)),
    Case("scheduler", "continuous times", 'timestep_type is "continuous"', (
        scheduler("EulerDiscreteScheduler", timestep_type="continuous", prediction_type="v_prediction"),)),
    Case("scheduler", "sigmoid betas", 'beta_schedule is "sigmoid"', (scheduler("DDPMScheduler", beta_schedule="sigmoid"),)),
    Case("scheduler", "unknown prediction type", 'prediction_type is "flow"', (fields("scheduler", prediction_type="flow"),)),
    Case("scheduler", "the old predict_epsilon", "predict_epsilon is false", (fields("scheduler", predict_epsilon=False),)),
    Case("scheduler", "two classes", "but", (fields("scheduler"), listed("scheduler", "FlowMatchEulerDiscreteScheduler"))),
]  # fmt: skip

UNETS = [
    Case("U-Net", "sample_size as a list", changes=(fields("unet", sample_size=[8, 8]),)),
    Case("U-Net", "sample_size null, image_size given", changes=(fields("unet", sample_size=None),),
         overrides=("guidance.prior.image_size=64",)),
    Case("U-Net", "sample_size null", "sample_size is null", (fields("unet", sample_size=None),)),
    Case("U-Net", "sample_size absent", "sample_size is null", (fields("unet", "sample_size"),)),
    Case("U-Net", "sample_size not square", r"sample_size is [8, 16]", (fields("unet", sample_size=[8, 16]),)),
    Case("U-Net", "in_channels absent", changes=(fields("unet", "in_channels"),)),
    Case("U-Net", "in_channels null", "in_channels is null", (fields("unet", in_channels=None),)),
    Case("U-Net", "no class", changes=(fields("unet", "_class_name"),)),
    Case("U-Net", "settings of averaged weights", changes=(fields("unet", decay=0.9999, power=0.75, optimization_step=9),)),
    Case("U-Net", "centred input", changes=(unet(center_input_sample=True),)),
    Case("U-Net", "no mid block", changes=(unet(mid_block_type=None),)),
    Case("U-Net", "GLIGEN's gates", changes=(unet(attention_type="gated"),)),
    Case("U-Net", "further channels with a variance", changes=(unet(out_channels=8),)),
    Case("U-Net", "Fourier times", changes=(unet(time_embedding_type="fourier"),)),
    Case("U-Net", "without cross-attention", "without cross-attention", (unet(**PLAIN_BLOCKS),)),
    Case("U-Net", "guidance-distilled", "time_cond_proj_dim is 16", (unet(time_cond_proj_dim=16),)),
    Case("U-Net", "class labels", "num_class_embeds is 10", (unet(num_class_embeds=10),)),
    Case("U-Net", "unCLIP", 'class_embed_type is "projection"', (
        unet(class_embed_type="projection", projection_class_embeddings_input_dim=16),)),
    Case("U-Net", "SDXL", 'addition_embed_type is "text_time"', (
        unet(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64),)),
    Case("U-Net", "image_proj", 'encoder_hid_dim_type is "image_proj"', (
        unet(encoder_hid_dim=32, encoder_hid_dim_type="image_proj"),)),
    Case("U-Net", "inpainting", "in_channels is 9", (unet(in_channels=9),)),
    Case("U-Net", "another number of outputs", "out_channels is 5", (unet(out_channels=5),)),
    Case("U-Net", "stage II of DeepFloyd IF", "in_channels is 6", (
        fields("unet", in_channels=6, class_embed_type="timestep"),), base="if"),
    Case("U-Net", "text of another width", "cross_attention_dim", (unet(cross_attention_dim=48),)),
    Case("U-Net", "other widths by block", "cross_attention_dim is [32, 64]", (unet(cross_attention_dim=(32, 64)),)),
    Case("U-Net", "UNet2DModel", "UNet2DModel", (fields("unet", _class_name="UNet2DModel"),)),
    Case("U-Net", "a network of diffusers' users", "MultiViewUNetModel", (fields("unet", _class_name="MultiViewUNetModel"),)),
    Case("U-Net", "quantised", "quantization_config", (fields("unet", quantization_config={"quant_method": "bitsandbytes"}),)),
    Case("U-Net", "unknown field", "camera_dim is 16: not a field", (fields("unet", camera_dim=16),)),
    Case("U-Net", "settings of another network", "shape", (fields("unet", block_out_channels=[16, 64]),)),
    Case("U-Net", "wrong prior for latents", "use the prior `latent`", overrides=("guidance.prior.type=pixel",)),
    Case("U-Net", "wrong prior for pixels", "vae", base="if", overrides=("guidance.prior.type=latent",)),
]  # fmt: skip

SMALL = ("guidance.prior.image_size=32",)
TRANSFORMERS = [
    Case("transformer", "a refiner", "refiner", (fields("unet", projection_class_embeddings_input_dim=5 * 8 + 20),), base="xl"),
    Case("transformer", "XL without its second encoder", "text_encoder_2", (listed("text_encoder_2", None),), base="xl"),
    Case("transformer", "FLUX's Fill", "in_channels is 384", (fields("transformer", in_channels=384),), base="flow-flux",
         overrides=SMALL),
    Case("transformer", "guidance for a network without", "guidance_embeds is false", (
        fields("transformer", guidance_embeds=False),), base="flow-flux",
         overrides=(*SMALL, "guidance.prior.embedded_guidance=3.5")),
    Case("transformer", "another transformer", "PixArtTransformer2DModel", (
        fields("transformer", _class_name="PixArtTransformer2DModel"),), base="flow-sd3"),
    Case("transformer", "a table of betas", "expected flow matching", (scheduler("DDPMScheduler"),), base="flow-sd3"),
    Case("transformer", "more patches than positions", "pos_embed_max_size is 2", (
        fields("transformer", pos_embed_max_size=2),), base="flow-sd3"),
    Case("transformer", "T5 listed, but missing", "text_encoder_3", (removed("text_encoder_3"),), base="flow-sd3"),
    Case("transformer", "the prior of U-Nets", "`flow`", base="flow-sd3", overrides=("guidance.prior.type=latent",)),
]  # fmt: skip

AUTOENCODERS = [
    Case("autoencoder", "AutoencoderTiny", changes=(TINY,)),
    Case("autoencoder", "AutoencoderTiny, scaling_factor absent", changes=(TINY, fields("vae", "scaling_factor"))),
    Case("autoencoder", "latents_mean and latents_std", changes=(
        fields("vae", latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.5, 1.0, 2.0, 4.0]),)),
    Case("autoencoder", "shift_factor", changes=(fields("vae", shift_factor=0.1, scaling_factor=1.5),)),
    Case("autoencoder", "scaling_factor absent", changes=(fields("vae", "scaling_factor"),)),
    Case("autoencoder", "without quant_conv", changes=(vae(use_quant_conv=False, use_post_quant_conv=False),)),
    Case("autoencoder", "sixteen channels", changes=(vae(latent_channels=16), unet(in_channels=16, out_channels=16))),
    Case("autoencoder", "three blocks", changes=(
        vae(block_out_channels=(16,) * 3, down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3),)),
    Case("autoencoder", "scaling_factor null", "scaling_factor is null", (fields("vae", scaling_factor=None),)),
    Case("autoencoder", "scaling_factor 0", "scaling_factor is 0", (fields("vae", scaling_factor=0),)),
    Case("autoencoder", "latents_mean alone", "latents_std is null", (fields("vae", latents_mean=[0.0] * 4),)),
    Case("autoencoder", "latents_mean too short", "latents_mean is [0.0]", (
        fields("vae", latents_mean=[0.0], latents_std=[1.0]),)),
    Case("autoencoder", "VQ", "VQModel", (fields("vae", _class_name="VQModel"),)),
    Case("autoencoder", "asymmetric", "AsymmetricAutoencoderKL", (fields("vae", _class_name="AsymmetricAutoencoderKL"),)),
    Case("autoencoder", "of grey images", "in_channels is 1", (vae(in_channels=1, out_channels=1),)),
    Case("autoencoder", "other channels than the U-Net", "in_channels is 4", (vae(latent_channels=8),)),
    Case("autoencoder", "AutoencoderTiny, a posterior's sample", "no posterior", (TINY,),
         overrides=("guidance.prior.posterior=sample",)),
    Case("autoencoder", "AutoencoderTiny, checkpointing", "gradient_checkpointing", (TINY,),
         overrides=("guidance.prior.gradient_checkpointing=true",)),
    Case("autoencoder", "image_size between latents", "multiple of 8", overrides=("guidance.prior.image_size=60",)),
]  # fmt: skip

TEXTS = [
    Case("text", "model_max_length null", changes=(fields("tokenizer", model_max_length=None),)),
    Case("text", "model_max_length 1e30", changes=(fields("tokenizer", model_max_length=int(1e30)),)),
    Case("text", "model_max_length absent", changes=(fields("tokenizer", "model_max_length"),)),
    Case("text", "tokenizer's class in model_index.json only", changes=(fields("tokenizer", "tokenizer_class"),)),
    Case("text", "T5 tokenizer's class in model_index.json only", changes=(fields("tokenizer", "tokenizer_class"),), base="if"),
    Case("text", "no vocabulary", "vocabulary", (removed("tokenizer/tokenizer.json"),)),
    Case("text", "a BERT", "bert", (fields("text_encoder", model_type="bert"),)),
    Case("text", "no text encoder", "text_encoder", (removed("text_encoder"),)),
    Case("text", "no tokenizer", "tokenizer", (removed("tokenizer"),)),
    Case("text", "names of DataParallel", "module.", (weights(TEXT, partial(prefixed, "module.")),)),
    Case("text", "names of torch.compile", "_orig_mod.", (weights(TEXT, partial(prefixed, "_orig_mod.")),)),
    Case("text", "a LoRA left in", "LoRA", (weights(TEXT, with_lora),)),
    Case("text", "half of the weights", "missing", (weights(TEXT, lambda names: dict(list(names.items())[::2])),)),
]

FILES = [
    Case("files", "shards", changes=(shards(UNET), shards(TEXT))),
    Case("files", "half precision beside full", changes=(
        weights(UNET, partial(cast, torch.float16), "diffusion_pytorch_model.fp16.safetensors"),)),
    Case("files", "half precision alone", changes=(
        weights(UNET, partial(cast, torch.float16)), renamed(UNET, "diffusion_pytorch_model.fp16.safetensors"))),
    Case("files", "bf16 alone", changes=(
        weights(VAE, partial(cast, torch.bfloat16)), renamed(VAE, "diffusion_pytorch_model.bf16.safetensors"))),
    Case("files", "a stray fp16 file beside full weights", changes=(
        weights(UNET, lambda names: {"lora": torch.zeros(1)}, "pytorch_lora_weights.fp16.safetensors"),)),
    Case("files", "a cut-off fp16 file beside full weights", changes=(
        weights(UNET, partial(cast, torch.float16), "diffusion_pytorch_model.fp16.safetensors"),
        cut("unet/diffusion_pytorch_model.fp16.safetensors", 0.5))),
    Case("files", "git-lfs pointer of weights", "git lfs pull", (written(UNET, LFS),)),
    Case("files", "git-lfs pointer of settings", "git lfs pull", (written("vae/config.json", LFS),)),
    Case("files", "git-lfs pointer of a vocabulary", "git lfs pull", (written("tokenizer/tokenizer.json", LFS),)),
    Case("files", "weights cut off", "cut off", (cut(UNET, 0.6),)),
    Case("files", "text encoder cut off", "cut off", (cut(TEXT, 0.6),)),
    Case("files", "header cut off", "cut off", (cut(VAE, 0.001),)),
    Case("files", "a web page in place of weights", "safetensors", (written(UNET, "<!DOCTYPE html><title>404</title>"),)),
    Case("files", "empty weights", "is empty", (written(UNET, b""),)),
    Case("files", "empty settings", "is empty", (written("unet/config.json", b""),)),
    Case("files", "settings cut off", "cannot be read", (cut("unet/config.json", 0.5),)),
    Case("files", "settings that are a list", "JSON object", (written("scheduler/scheduler_config.json", "[]"),)),
    Case("files", "settings that are no text", "cannot be read", (written("vae/config.json", b"\xff\xfe\x00"),)),
    Case("files", "dangling link", "link", (dangling(UNET),)),
    Case("files", "a shard missing", "00002-of-00002", (shards(UNET, drop=True),)),
    Case("files", "a LoRA alone", "pytorch_lora_weights", (renamed(UNET, "pytorch_lora_weights.safetensors"),)),
    Case("files", "non_ema weights alone", "non_ema", (renamed(UNET, "diffusion_pytorch_model.non_ema.safetensors"),)),
    Case("files", "pickled weights alone", ".bin", (renamed(UNET, "diffusion_pytorch_model.bin"),)),
    Case("files", "settings missing", "config.json", (removed("unet/config.json"),)),
    Case("files", "scheduler missing", "scheduler", (removed("scheduler"),)),
    Case("files", "U-Net with names of torch.compile", "_orig_mod.", (weights(UNET, partial(prefixed, "_orig_mod.")),)),
    Case("files", "U-Net with half of its weights", "missing", (weights(UNET, lambda names: dict(list(names.items())[::2])),)),
    Case("files", "model_index.json missing", changes=(removed("model_index.json"),)),
    Case("files", "model_index.json damaged", "model_index.json", (cut("model_index.json", 0.5),)),
]  # fmt: skip

PIPELINES = [
    *(
        Case("pipeline", name, network, other_pipeline(f"{name}Pipeline", network))
        for name, network in (
            ("StableDiffusion3", "SD3Transformer2DModel"), ("Flux", "FluxTransformer2DModel"), ("Sana", "SanaTransformer2DModel"),
            ("PixArtAlpha", "PixArtTransformer2DModel"), ("HunyuanDiT", "HunyuanDiT2DModel"),
            ("CogVideoX", "CogVideoXTransformer3DModel"),
        )
    ),
    Case("pipeline", "Würstchen", "WuerstchenPrior", other_pipeline("WuerstchenPriorPipeline", "WuerstchenPrior", "prior")),
    Case("pipeline", "Stable Video Diffusion", "UNetSpatioTemporalConditionModel", (
        fields("unet", _class_name="UNetSpatioTemporalConditionModel"),)),
    Case("pipeline", "a single U-Net", "a single UNet2DConditionModel", (only("unet"),)),
    Case("pipeline", "a single file in a folder", "name the file", (only(f"{UNET} as dreamshaper.safetensors"),)),
    Case("pipeline", "a LoRA in a folder", "name the file", (only(f"{UNET} as pytorch_lora_weights.safetensors"),)),
    Case("pipeline", "an empty folder", "holds nothing", (only(),)),
    Case("pipeline", "a single file", "a single network", (only(f"{UNET} as a.safetensors"),), model="{folder}/a.safetensors"),
    Case("pipeline", "models/NAME missing", "no such folder", model="models/mine"),
    Case("pipeline", "a missing absolute path", "no such folder", model="{folder}/nothing"),
]  # fmt: skip

CASES = (*PLAIN, *SCHEDULERS, *UNETS, *TRANSFORMERS, *AUTOENCODERS, *TEXTS, *FILES, *PIPELINES)
