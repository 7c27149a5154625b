"""Pipelines of diffusers with a few thousand random weights, made from configs alone: no download."""

from pathlib import Path
from typing import Any

import torch


def tokenizer() -> Any:
    """A CLIP tokenizer that knows single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[("a", "b</w>")], model_max_length=8)


def text_encoder(projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=2,
        max_position_embeddings=8, projection_dim=16, bos_token_id=53, eos_token_id=54, pad_token_id=54,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=2,
        layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32, scaling_factor=0.7,
    ).eval()  # fmt: skip


def unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config: dict[str, Any] = {
        "sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "norm_num_groups": 2,
        "layers_per_block": 1, "cross_attention_dim": 16, "attention_head_dim": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**(config | changes)).eval()


def scheduler(prediction: str = "epsilon") -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, steps_offset=1
    )


def save_stable_diffusion(folder: Path, prediction: str = "epsilon", controlnet: bool = False) -> Path:
    """A tiny Stable Diffusion 1.x pipeline in a folder."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

    torch.manual_seed(0)
    parts = {
        "vae": autoencoder(), "text_encoder": text_encoder(), "tokenizer": tokenizer(), "unet": unet(),
        "scheduler": scheduler(prediction), "safety_checker": None, "feature_extractor": None,
        "requires_safety_checker": False,
    }  # fmt: skip
    if controlnet:
        control = ControlNetModel.from_unet(parts["unet"], conditioning_embedding_out_channels=(8, 8))
        pipeline = StableDiffusionControlNetPipeline(controlnet=control, **parts)
    else:
        pipeline = StableDiffusionPipeline(**parts)
    pipeline.save_pretrained(folder)
    return folder


def save_stable_diffusion_xl(folder: Path) -> Path:
    """A tiny Stable Diffusion XL pipeline in a folder."""
    from diffusers import StableDiffusionXLPipeline

    torch.manual_seed(0)
    network = unet(
        cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8, transformer_layers_per_block=1, use_linear_projection=True,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=text_encoder(), text_encoder_2=text_encoder(True), tokenizer=tokenizer(),
        tokenizer_2=tokenizer(), unet=network, scheduler=scheduler(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_ddpm(folder: Path) -> Path:
    """A tiny unconditional pixel-space pipeline in a folder."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 16), norm_num_groups=2,
        layers_per_block=1, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDPMPipeline(unet=network, scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def save_controlnet(pipeline: Path, folder: Path) -> Path:
    """A ControlNet for the UNet of a pipeline, with the convolutions that begin as zeros made small instead."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    for name, weight in control.named_parameters():
        if name.startswith("controlnet_") and name.endswith("weight"):
            torch.nn.init.normal_(weight, std=0.1)
    control.save_pretrained(folder)
    return folder


def _latents() -> Any:
    """The autoencoder of flow-matching pipelines: latents are shifted too."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=2,
        layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32, scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False,
    ).eval()  # fmt: skip


def _t5() -> tuple[Any, Any]:
    """A T5 tokenizer that knows single letters, and its encoder."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    letters = [(chr(code), -2.0) for code in range(ord("a"), ord("z") + 1)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)]
    encoder = T5EncoderModel(T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    return T5TokenizerFast(vocab=[*special, *letters], extra_ids=0), encoder.eval()


SD3_SIZES: dict[str, Any] = {
    "sample_size": 32, "patch_size": 2, "in_channels": 4, "attention_head_dim": 8, "num_attention_heads": 2,
    "joint_attention_dim": 32, "caption_projection_dim": 16, "pooled_projection_dim": 32, "pos_embed_max_size": 96,
}  # fmt: skip
FLUX_SIZES: dict[str, Any] = {
    "patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 16, "axes_dims_rope": (4, 4, 8),
}  # fmt: skip


def stable_diffusion_3() -> Any:
    """A tiny Stable Diffusion 3 pipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    network = SD3Transformer2DModel(**SD3_SIZES, num_layers=2, out_channels=4).eval()
    words, encoder = _t5()
    return StableDiffusion3Pipeline(
        transformer=network, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_latents(),
        text_encoder=text_encoder(True), tokenizer=tokenizer(), text_encoder_2=text_encoder(True),
        tokenizer_2=tokenizer(), text_encoder_3=encoder, tokenizer_3=words,
    )  # fmt: skip


def flux() -> Any:
    """A tiny FLUX pipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    network = FluxTransformer2DModel(**FLUX_SIZES, guidance_embeds=True).eval()
    words, encoder = _t5()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=_latents(), transformer=network,
        text_encoder=text_encoder(), tokenizer=tokenizer(), text_encoder_2=encoder, tokenizer_2=words,
    )  # fmt: skip


def aura_flow() -> Any:
    """A tiny AuraFlow pipeline: one more of flow matching, that nothing here is written for."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    network = AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=32, caption_projection_dim=32, pos_embed_max_size=256,
    ).eval()  # fmt: skip
    words, encoder = _t5()
    return AuraFlowPipeline(
        tokenizer=words, text_encoder=encoder, vae=_latents(), transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )  # fmt: skip


def flow_controlnet(kind: str) -> Any:
    """A ControlNet of Stable Diffusion 3 or FLUX whose outputs are not zero."""
    from diffusers import FluxControlNetModel, SD3ControlNetModel

    torch.manual_seed(1)
    if kind == "sd3":
        control: Any = SD3ControlNetModel(**SD3_SIZES, num_layers=1, extra_conditioning_channels=0)
    else:
        control = FluxControlNetModel(**FLUX_SIZES, guidance_embeds=True)
    for name, weight in control.named_parameters():
        if name.startswith(("controlnet_", "pos_embed_input", "controlnet_x_embedder")) and name.endswith("weight"):
            torch.nn.init.normal_(weight, std=0.1)
    return control.eval()
