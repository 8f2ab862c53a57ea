"""Prompts to token ids: the bundles' tokenizers, and two small ones shaped as the published Gemma files are."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sa3_edge.generation.tokenizer import Tokenizer
from vector_format import REPOSITORY, Made, digest, json_file

_LONG = 64  # ids that are written out; more are digested
_ANY = 1 << 30

# What people type, and what breaks tokenizers: spaces of all kinds, marks that combine, scripts that run the other
# way, characters outside the basic plane, text that looks like a token.
TEXTS = (
    "", " ", "  ", "   lofi  piano ", "lofi piano", "Lofi Piano 120 BPM, A minor", "\t", "a\tb", "\n", "\n\n\n",
    "line one\nline two\r\nthree", "\r", "\x0b\x0c", "a\u2028b\u2029c", "\x00nul\x01\x7f",
    "\u00a0nbsp\u3000ideographic\u2009thin\u200bzero\ufeffbom", "\u1680 ogham", "tra\u00adnce", " " * 40, "\n" * 40,
    "🎹🎷", "👩‍👩‍👧‍👦 family", "🇩🇪🇯🇵 flags", "❤️‍🔥", "👍🏽", "1️⃣", "低保真钢琴", "ローファイ・ピアノ",
    "ﾋﾟｱﾉ ピアノ", "로파이 피아노",
    "بيانو هادئ مع أمطار", "פסנתר רך", "\u202eRTL override\u202c", "हिन्दी संगीत", "ไทย เพลง", "\u0600\u0601",
    "é vs e\u0301", "\u00e9", "e\u0301", "x\u0301\u0301\u0301", "\u212b \u00c5 A\u030a", "ﬁ ligature", "İstanbul ıI",
    "ß ẞ", "Ωmega µ", "𝔊𝔬𝔱𝔥𝔦𝔠 𐍈 𓀀 𒀀", "\ue000 private", "\uffff\ufffe", "\U0010ffff", "\u0378 unassigned",
    "<bos>", "a <bos> b", "<eos><pad><unk>", "<0x41>", "<0xE2>", "<", "<<0x0A>>", "▁", "▁▁", "a▁b",
    "<start_of_turn>user", "<start_of_turn", "<unused0>", "[multimodal]", "<table>", "</s>", "<mask><mask",
    "don't stop—now… “quoted” ‘x’", "!?.,;:-_()[]{}", "100% #1 @home $5 €10 £3 ¥9", "C#m7♭5 – B♭ D♯ ♩=120 𝄞",
    "Ⅷ ² ½ ①", "ʻokina", "Ꙁ Ԙ ꓥ ߊ", "lofi hip hop piano, rain on a tin roof", "piano, piano; pianopiano",
    "a" * 300, "ab" * 200, "aab" * 100, "piano " * 300, "lofi piano with rain on the roof and a warm bass, " * 60,
)  # fmt: skip

# What the small tokenizers' merges are learnt from.
_CORPUS = (
    "lofi piano with rain on a tin roof and warm bass aaaa abab the thin line in rain, lofi hip hop, caf\u00e9 e\u0301 "
    "piano pianist ambient drone warm analog synth bass drums vinyl crackle 120 BPM a minor ピアノ ローファイ "
) * 2
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
_ADDED = ("<mask>", "<start_of_turn>", "<unused0>", "<table>", "[multimodal]", "\n\n", "\n\n\n", "▁▁", "</s>")


def text_vectors(demo_tokenizer: Path, max_tokens: int) -> Made:
    """The small tokenizers' files are vectors themselves."""
    made: Made = {
        "tokenizers/strings.json": _tokenizer_file(pairs=False),
        "tokenizers/pairs.json": _tokenizer_file(pairs=True),
    }
    tokenizers = []
    here = Path("runtimes/conformance/vectors")
    for path, data in made.items():
        tokenizers.append({"tokenizer": str(here / path), "cases": _cases(_opened(data))})
    tokenizers += [
        {"tokenizer": path.relative_to(REPOSITORY).as_posix(), "cases": _cases(Tokenizer(path, _ANY))}
        for path in (demo_tokenizer, REPOSITORY / "tests/data/tiny/t5gemma-b-b-ul2/tokenizer.json")
    ]
    cut = Tokenizer(demo_tokenizer, max_tokens).encode("piano " * 300)
    content = {
        "refused": [{"utf16": ["0061", "d83c"]}, {"utf16": ["dfb9"]}, {"utf16": ["dfb9", "d83c"]}],
        "cut": {
            "tokenizer": demo_tokenizer.relative_to(REPOSITORY).as_posix(),
            "text": "piano " * 300,
            "max_tokens": max_tokens,
            "ids": digest(np.array(cut[0], np.int32)),
            "cut": cut[1],
        },
    }
    # A list of tokenizers, each with a line a case.
    for index, tokenizer in enumerate(tokenizers):
        content[f"tokenizer_{index}"] = tokenizer["tokenizer"]
        content[f"cases_{index}"] = tokenizer["cases"]
    return made | {"tokenizer.json": json_file(content)}


def _opened(data: bytes) -> Tokenizer:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_bytes(data)
        return Tokenizer(path, _ANY)


def _cases(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    cases = []
    for text in TEXTS:
        ids, _ = tokenizer.encode(text)
        cases.append({"text": text, "ids": ids if len(ids) <= _LONG else digest(np.array(ids, np.int32))})
    return cases


def _tokenizer_file(pairs: bool) -> bytes:
    """A `tokenizer.json` with all that the published files have.

    pairs False: merges as strings, no pre_tokenizer, a post_processor that adds <bos>, as Gemma 2's;
    True: merges as pairs, a Split that finds nothing left to split, as Gemma 3's.
    """
    text = _CORPUS.replace(" ", "▁")
    merges = _learn_merges(text, 60)
    tokens = [*_SPECIAL, *_ADDED, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += sorted(set(text)) + [first + second for first, second in merges]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    bos = {"id": "<bos>", "ids": [vocabulary["<bos>"]], "tokens": ["<bos>"]}
    only_bos = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": bos},
    }
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(vocabulary[token], token, token in _SPECIAL) for token in (*_SPECIAL, *_ADDED)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": split if pairs else None,
        "post_processor": None if pairs else only_bos,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(merge) if pairs else " ".join(merge) for merge in merges],
        },
    }
    return (json.dumps(content, ensure_ascii=True, indent=0) + "\n").encode("ascii")


def _added(index: int, content: str, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **flags, "special": special}


def _learn_merges(text: str, count: int) -> list[tuple[str, str]]:
    """The most frequent pair each time; of equals the first by its text."""
    symbols = list(text)
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = Counter(itertools.pairwise(symbols))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined
    return merges
