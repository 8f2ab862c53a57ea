"""The demo's tokenizer: BPE in Gemma's shape, whose merges make each word of the captions one token."""

import json

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sa3_export.checkpoints.demo.captions import caption
from sa3_export.checkpoints.demo.corpus import compose

SIZE = 768
_SPACE = "▁"


def make_tokenizer(captions: int = 6000, seed: int = 0) -> Tokenizer:
    """Learned from captions of the corpus; letters and bytes for all other words; case is ignored."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    while len(texts) < captions:
        song = compose(rng, 1)
        texts += [caption(rng, song) for _ in range(4)]
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", _SPACE)])
    made.pre_tokenizer = pre_tokenizers.Split(_SPACE, "merged_with_next")
    alphabet = [chr(code) for code in range(33, 127)] + [_SPACE]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - 256, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    described = json.loads(made.to_str())
    vocabulary = described["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    made = Tokenizer.from_str(json.dumps(described))
    made.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def in_any_case(lower: Tokenizer) -> tuple[Tokenizer, list[int]]:
    """The same tokenizer with words written as Word and WORD beside word, and of each id the id whose embedding it has.

    Instead of a normalizer to lower case, which the published tokenizer does not have: hosts read what that one needs.
    Words need no splitting either: no merge goes beyond a space.
    """
    described = json.loads(lower.to_str())
    model = described["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    source = list(range(len(vocabulary)))
    merges: list[list[str]] = []

    def add(token: str, like: str) -> None:
        if token not in vocabulary:
            vocabulary[token] = len(source)
            source.append(vocabulary[like])

    for letter in (chr(code) for code in range(ord("a"), ord("z") + 1)):
        source[vocabulary[letter.upper()]] = vocabulary[letter]
    for pair in model["merges"]:
        first, second = pair if isinstance(pair, list) else pair.split(" ")
        capital = (_capital(first), second) if _capital(first) != first else (first, _capital(second))
        for one, other in dict.fromkeys(((first, second), capital, (first.upper(), second.upper()))):
            for token in (one, other, one + other):
                add(token, token.lower())
            merges.append([one, other])
    described["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    described["pre_tokenizer"] = None
    model["vocab"], model["merges"] = vocabulary, merges
    return Tokenizer.from_str(json.dumps(described)), source


def _capital(piece: str) -> str:
    """With its first letter, if it begins with one (after a space), in upper case."""
    if piece.startswith(_SPACE):
        return _SPACE + _capital(piece[1:])
    return piece[:1].upper() + piece[1:]
