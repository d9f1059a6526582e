"""Tiny models with random weights in Hugging Face's layout: everything but the sense of a real one."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

WORDS = (
    *("the", "cat", "sleeps", "is", "sleeping", "on", "sofa", "warm", "stock", "market", "fell", "sharply", "after"),
    *("bank", "raised", "rates", "short", "long", "post"),
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def save_tokenizer(folder: Path, *, ends: bool = True, pad: bool = True) -> int:
    """Save a tokenizer of whole words and single characters; return the size of its vocabulary."""
    characters = [chr(code) for code in range(33, 127)]
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if ends:
        tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    names: dict[str, Any] = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>"}
    if pad:
        names["pad_token"] = "<pad>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **names
    ).save_pretrained(folder)
    return len(vocabulary)


def save_pooling(folder: Path, **modes: Any) -> None:
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def tiny_bert(folder: Path, *, positions: int = 64, seed: int = 3) -> Path:
    torch.manual_seed(seed)
    size = save_tokenizer(folder)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def tiny_roberta(folder: Path, *, positions: int) -> Path:
    torch.manual_seed(3)
    size = save_tokenizer(folder)
    config = RobertaConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=1,
        type_vocab_size=1,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def tiny_gpt2(folder: Path) -> Path:
    torch.manual_seed(3)
    size = save_tokenizer(folder, ends=False, pad=False)
    config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    GPT2Model(config).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path) -> Path:
    torch.manual_seed(3)
    size = save_tokenizer(folder)
    text = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 16,
        "patch_size": 8,
    }
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    return folder
