"""A tiny encoder, written to disk as a hub would hand it out."""

import torch
from corpora import write_corpus
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OF_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

OTHERS = {
    "roberta": {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 258},
    "deberta-v2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "global_attn_every_n_layers": 2},
    "distilbert": {},
}
"""Other families of encoders by their `model_type`, with what is not as in BERT."""


def write_encoder(folder, texts, width=32, family="bert"):
    """Two layers, `width` wide, with the words of `texts` as vocabulary; returns the folder."""
    words = sorted({word for text in texts for word in _words(text)})
    special = OF_ROBERTA if family == "roberta" else SPECIAL
    vocabulary = {word: number for number, word in enumerate((*special, *words))}
    pad, unknown, start, end = ("<pad>", "<unk>", "<s>", "</s>") if family == "roberta" else SPECIAL[:4]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    between = f"{end} {end} $B {end}" if family == "roberta" else f"{end} $B:1 {end}:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {between}",
        special_tokens=[(name, vocabulary[name]) for name in (start, end)],
    )
    names = {"pad_token": pad, "unk_token": unknown, "cls_token": start, "sep_token": end}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 256,
    }
    config = AutoConfig.for_model(family, **(sizes | OTHERS.get(family, {})))
    AutoModel.from_config(config).save_pretrained(folder)
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
