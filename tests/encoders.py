"""A tiny encoder, written to disk as a hub would hand it out."""

import torch
from corpora import write_corpus
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_encoder(folder, texts, width=32):
    """Two layers, `width` wide, with the words of `texts` as vocabulary; returns the folder."""
    words = sorted({word for text in texts for word in _words(text)})
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=256,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def write_ground(folder):
    """A corpus and a tiny encoder that knows its words; returns the overrides that train it quickly."""
    corpus = write_corpus(folder / "corpus")
    texts = [path.read_text(encoding="utf-8") for path in (corpus / "documents").iterdir()]
    encoder = write_encoder(folder / "encoder", texts)
    return ["model=encoder", f"model.name={encoder}", "data=local", f"data.folder={corpus}"]


QUICK_LEARNER = (
    "model.learning_rate=3e-3",
    "model.head_learning_rate=1e-2",
    "model.pretrained_share=0",
    "model.batch_size=8",
    "model.checkpoint_steps=10",
)


def _words(text):
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text.lower())]
