#!/usr/bin/env python3
"""Compares espalier's tokenizers with the libraries `tokenizers` and `sentencepiece`, id by id.

usage: tokenizers_judge.py DUMP_PROGRAM [CASE…]
       tokenizers_judge.py --fixtures OUT_DIR   writes small tokenizers with the ids that the libraries give

DUMP_PROGRAM is the built tokenizer_dump, the texts come from $ESPALIER_SHARED_DIR. The two libraries are taken from the
running Python, or from the virtual environment of judge_setup.py. Exit 1 if any text differs.
"""
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import judge_setup

judge_setup.ensure(sys.argv[1], "sentencepiece", "tokenizers")
import sentencepiece  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer  # noqa: E402
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

DUMP, SHARED = sys.argv[1], judge_setup.shared_dir()
DUMP = DUMP if DUMP.startswith("--") else str(pathlib.Path(DUMP).resolve())
WORK = pathlib.Path(tempfile.mkdtemp(prefix="tokenizers-judge-"))

UNICODE = [
    "", " ", "  ", "\n", "\n\n", "\t \n x", " leading", "trailing ", "two  spaces   three", "\r\nwindows\r\n\r\nlines\r\n",
    "naïve café Ångström ÅÉ", "e\u0301 combining a\u030a", "ﬁ ligature ½ ² ① Ⅷ", "İstanbul ıI ß ẞ ſ",
    "Привет, мир! Как дела?", "你好，世界！這是一個測試。", "こんにちは世界、カタカナ ｶﾀｶﾅ", "안녕하세요 세계", "مرحبا بالعالم ١٢٣",
    "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "👍🏽 👨‍👩‍👧‍👦 🇩🇪 🧐 emoji", "a\u200bb\u200cc\u200dd\ufeffe", "a\u00a0b\u2003c\u3000d\u1680e\u180ef",
    "x\u0000y", "control \u0001\u0007\u001b\u007f\u0085\u009f end", "\u2028line\u2029para", "▁▁already▁marked ▁", "<s>text</s><unk>", "<|endoftext|>mid<|endoftext|>",
    "[CLS] [MASK] word[SEP]", "don't I'll we've they'RE 'S it's", "3.14159 1234567890 ٣ ๓ 12,345", "a_b-c d.e,f;g:h!i?j", "(a)[b]{c}<d>\"e\"'f'`g`",
    "def f(x):\n    return x ** 2  # square\n\n\n\tif y:\n\t\tpass\n", "https://example.org/a?b=c&d=%20#e", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 3,
    "\U0001F600\U0001F9FF\U00010348\U0010FFFD\ue000\u0378", "word" * 40, "ǅ ǆ Ǆ ŉ ΐ ﷺ ㍿", "a.b.. ...", "\ufffd\ufffd", "Q: 中文English混排123数字", " \n \n  x  \n\n y", "²³¹ ½ ١", "_ __ ‿ ⁀", "$€£ +=<>^~|` ©®", "…‘’“”–—", "\u0301start", "\r\n", "\r\r\n\n", "a\u0308\u0323 \u1100\u1161\u11a8"]


def random_texts(count, seed=7):
    rng = random.Random(seed)
    pools = ["abcdefghij ABC", "  \n\t\r", "0123456789", ".,;:!?'\"()-_", "éüñçÅßİſ", "你好世界", "привет", "नमस्ते", "\u0301\u0308\u200d\u200b\u00a0▁", "👍🏽🇩🇪👨‍👩", "ﬁ½①ｶﾞ"]
    texts = []
    for _ in range(count):
        words = []
        for _ in range(rng.randrange(1, 12)):
            pool = rng.choice(pools)
            words.append("".join(rng.choice(pool) for _ in range(rng.randrange(1, 8))))
        texts.append(rng.choice(["", " "]).join(words))
    return texts


def corpus():
    text = SHARED / "data" / "text"
    lines = (text / "wikitext-2" / "valid.txt").read_text().splitlines(keepends=True)[:1500]
    stories = (text / "tinystories-sample" / "tinystories_val.txt").read_text()[:200000].split("\n\n")
    code = [json.loads(line) for line in gzip.open(text / "human-eval" / "HumanEval.jsonl.gz", "rt")]
    code = [item["prompt"] + item["canonical_solution"] for item in code]
    essay = (text / "paul-graham-essays" / "gap.txt").read_text()
    return UNICODE + random_texts(1500) + lines + stories + code + [essay]


TEXTS = corpus()


def ours(model):
    inputs = WORK / "texts.jsonl"
    inputs.write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    run = subprocess.run([DUMP, model, inputs], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())
    return [json.loads(line) for line in run.stdout.split("\n")[:-1]]


class Reference:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode(self, text, special):
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids)


class SentencePiece:
    def __init__(self, path):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text, special):
        ids = self.processor.encode(text)
        return [self.processor.bos_id()] * special + ids

    def decode(self, ids):
        unk = self.processor.unk_id()
        return None if unk in ids else self.processor.decode(ids)


def shown(text):
    return repr(text if len(text) < 120 else text[:117] + "…")


def compare(name, model, reference, tied=False):
    # tied: of two segmentations with the same tokens in another order, thus the same score, SentencePiece prefers one
    # by the rounding of single precision; either is right.
    bad = 0
    results = ours(model)
    assert len(results) == len(TEXTS)
    for text, result in zip(TEXTS, results):
        for key, special in (("ids", True), ("plain_ids", False)):
            expected = reference.encode(text, special)
            if tied and sorted(expected) == sorted(result[key]):
                continue
            if result[key] != expected:
                bad += 1
                if bad <= 8:
                    at = next((i for i, (a, b) in enumerate(zip(result[key], expected)) if a != b), min(len(result[key]), len(expected)))
                    print(f"  {key} differ at {at}: {shown(text)}\n    ours {result[key][max(0, at - 2):at + 6]}\n    want {expected[max(0, at - 2):at + 6]}")
                break
        else:
            decoded = reference.decode(result["ids"])
            if decoded is not None and decoded != result["decoded"]:
                bad += 1
                if bad <= 8:
                    print(f"  decoded: {shown(text)}\n    ours {shown(result['decoded'])}\n    want {shown(decoded)}")
    print(f"{'FAIL' if bad else 'ok  '} {name}: {len(TEXTS) - bad} of {len(TEXTS)} texts equal")
    return bad


def saved(name, tokenizer):
    folder = WORK / name
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, Reference(tokenizer)


WIKI = str(SHARED / "data" / "text" / "wikitext-2" / "test.txt")


def byte_level(pattern, **bpe):
    """A byte-level BPE trained on WikiText with a Split in front, as Llama 3 and Qwen 2 have it."""
    tokenizer = Tokenizer(models.BPE(**bpe))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=4000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|begin_of_text|>", "<|endoftext|>"])
    tokenizer.train([WIKI], trainer)
    return tokenizer


def case_stories260k():
    folder = SHARED / "data" / "llama2c-stories260K" / "hf"
    return folder, Reference(Tokenizer.from_file(str(folder / "tokenizer.json")))


def case_tinygpt():
    folder = SHARED / "data" / "tinygpt-char-shakespeare" / "hf"
    return folder, Reference(Tokenizer.from_file(str(folder / "tokenizer.json")))


def case_gpt2():
    folder = SHARED / "data" / "tokenizers" / "gpt2"
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return folder, Reference(tokenizer)


def bert(folder, lowercase=True):
    vocab = models.WordPiece.read_file(str(folder / "vocab.txt"))
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    return tokenizer


def case_bert():
    folder = SHARED / "data" / "tokenizers" / "bert-base-uncased"
    return folder, Reference(bert(folder))


def case_bert_json_cased():
    return saved("bert_json", bert(SHARED / "data" / "tokenizers" / "bert-base-uncased", lowercase=False))


def case_llama2():
    folder = SHARED / "data" / "tokenizers" / "llama2"
    return folder / "tokenizer.model", SentencePiece(folder / "tokenizer.model")


def case_llama3():
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = byte_level(pattern)
    spec = json.loads(tokenizer.to_str())
    spec["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", bos)])])
    return saved("llama3", tokenizer)


def case_qwen2():
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = byte_level(pattern, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    tokenizer.normalizer = normalizers.NFC()
    return saved("qwen2", tokenizer)


def case_gpt4():
    return saved("gpt4", byte_level(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"))


def case_gpt4o():
    return saved("gpt4o", byte_level(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"))


def case_bloom():
    """A class inside a class."""
    return saved("bloom", byte_level(r" ?[^(\s|[.,!?…。，、।۔،])]+"))


def case_words():
    """\\w and \\s where Oniguruma and PCRE2 differ; removal and inversion."""
    tokenizer = byte_level(r"\w+|[^\w\s]+")
    spec = json.loads(tokenizer.to_str())
    spec["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed", invert=True)
    return saved("words", Tokenizer.from_str(json.dumps(spec)))


def case_deepseek():
    """Several splits in a row, digits apart, Chinese apart."""
    tokenizer = byte_level(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(Regex(r"[一-龥぀-ゟ゠-ヿ]+"), "isolated"),
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return saved("deepseek", tokenizer)


def unigram(byte_fallback, **metaspace):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
    tokenizer.decoder = decoders.Metaspace(**metaspace)
    special = ["<pad>", "</s>", "<unk>"] + ([f"<0x{i:02X}>" for i in range(256)] if byte_fallback else [])
    tokenizer.train([WIKI], trainers.UnigramTrainer(vocab_size=3000, show_progress=False, unk_token="<unk>", special_tokens=special))
    spec = json.loads(tokenizer.to_str())
    spec["model"]["byte_fallback"] = byte_fallback
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(spec))


def case_unigram():
    tokenizer = unigram(False)
    eos = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", eos)])
    return saved("unigram", tokenizer)


def case_unigram_bytes():
    tokenizer = unigram(True, prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return saved("unigram_bytes", tokenizer)


def case_unigram_whole():
    tokenizer = unigram(False, prepend_scheme="never", split=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    return saved("unigram_whole", tokenizer)


def spm(kind, name, **options):
    # Relative names, as the model records them.
    os.chdir(WORK)
    lines = [line for line in pathlib.Path(WIKI).read_text().splitlines() if len(line) < 4000]
    pathlib.Path(name + ".txt").write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(input=name + ".txt", model_prefix=name, model_type=kind, minloglevel=2, **options)
    return WORK / (name + ".model")


def case_spm_unigram():
    path = spm("unigram", "spm_unigram", vocab_size=3000, character_coverage=0.999)
    return path, SentencePiece(path), True


def case_spm_unigram_symbols():
    path = spm("unigram", "spm_symbols", vocab_size=3000, byte_fallback=True, user_defined_symbols=["<sep>", "ing ", "<x>"], normalization_rule_name="nmt_nfkc_cf")
    return path, SentencePiece(path), True


def case_spm_bpe():
    path = spm("bpe", "spm_bpe", vocab_size=3000, byte_fallback=True, user_defined_symbols=["<sep>", "the", "  "], remove_extra_whitespaces=False, normalization_rule_name="identity")
    return path, SentencePiece(path)


def case_spm_bpe_nfkc():
    path = spm("bpe", "spm_bpe_nfkc", vocab_size=3000, add_dummy_prefix=False)
    return path, SentencePiece(path)


def case_precompiled():
    """The charsmap as the library applies it, from a SentencePiece model."""
    import base64
    path = spm("unigram", "precompiled_source", vocab_size=2000)
    charsmap = normalizer_charsmap(path.read_bytes())
    tokenizer = unigram(False)
    spec = json.loads(tokenizer.to_str())
    spec["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    return saved("precompiled", Tokenizer.from_str(json.dumps(spec)))


def normalizer_charsmap(model):
    def fields(data):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        while at < len(data):
            key = varint()
            kind = key & 7
            if kind == 0:
                yield key >> 3, varint()
            else:
                size = {1: 8, 5: 4}.get(kind)
                size = varint() if size is None else size
                yield key >> 3, data[at:at + size]
                at += size

    spec = next(value for number, value in fields(model) if number == 3)
    return next(value for number, value in fields(spec) if number == 2)


def case_wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.Sequence([normalizers.BertNormalizer(lowercase=False, strip_accents=True), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits()])
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.train([WIKI], trainers.WordPieceTrainer(vocab_size=2000, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return saved("wordpiece", tokenizer)


def case_clip():
    """End-of-word suffix, lower case, white space collapsed."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix="", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train([WIKI], trainers.BpeTrainer(vocab_size=3000, show_progress=False, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|startoftext|>", "<|endoftext|>"]))
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), add_prefix_space=False)
    return saved("clip", tokenizer)


def case_bpe_prefix():
    """Continuing prefix, unknown characters not fused, a decoder with a suffix."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train([WIKI], trainers.BpeTrainer(vocab_size=2000, show_progress=False, limit_alphabet=60, continuing_subword_prefix="##", special_tokens=["<unk>"]))
    tokenizer.decoder = decoders.BPEDecoder(suffix="##")
    return saved("bpe_prefix", tokenizer)


def added_tokens(tokenizer):
    tokenizer.add_tokens([AddedToken("world", single_word=True), AddedToken("lstripped", lstrip=True), AddedToken("Café", normalized=True), AddedToken("spaces", lstrip=True, rstrip=True),
                          AddedToken("the ", normalized=False), AddedToken("  ", normalized=False), AddedToken("ab", normalized=False), AddedToken("abc", normalized=False), AddedToken("English混", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<s>", rstrip=True), AddedToken("<unk>", lstrip=True)])
    return tokenizer


def case_added_byte_level():
    tokenizer = added_tokens(byte_level(r"\p{L}+|\s+|."))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    spec = tokenizer.to_str()
    return saved("added_byte_level", Tokenizer.from_str(spec))


def case_added_metaspace():
    tokenizer = unigram(False, prepend_scheme="first")
    tokenizer = added_tokens(tokenizer)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(right=True, left=False), normalizers.Lowercase()])
    return saved("added_metaspace", Tokenizer.from_str(tokenizer.to_str()))


def case_behaviors():
    """Every behaviour of Split, one after the other."""
    tokenizer = byte_level(r"\p{L}+|\s+|.")
    split = pre_tokenizers.Split
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        split(Regex(r"\n"), "merged_with_previous"), split("e", "merged_with_next"), split(Regex(r"\d"), "contiguous"), split(",", "isolated", invert=True),
        split(Regex(r"o*"), "isolated"), split("zz", "removed"), pre_tokenizers.CharDelimiterSplit("q"), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    return saved("behaviors", tokenizer)


FIXTURE_TEXTS = [text for text in UNICODE if len(text) < 60] + [
    "The quick brown fox jumps over the lazy dog, and then it rained in 1998.", "def add(a, b):\n    return a + b\n"]


def small_source():
    source = WORK / "small.txt"
    source.write_text("\n".join(pathlib.Path(WIKI).read_text().splitlines()[:400]))
    return str(source)


def fixture_byte_level():
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train([small_source()], trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|begin|>", "<|end|>"]))
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1", special_tokens=[("<|begin|>", 0)])])
    return tokenizer


def fixture_unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train([small_source()], trainers.UnigramTrainer(vocab_size=400, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "</s>"]))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def fixture_wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train([small_source()], trainers.WordPieceTrainer(vocab_size=500, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def fixture_suffix():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.BPEDecoder()
    tokenizer.train([small_source()], trainers.BpeTrainer(vocab_size=500, limit_alphabet=70, show_progress=False, end_of_word_suffix="</w>", special_tokens=["<unk>"]))
    tokenizer.add_tokens([AddedToken("world", single_word=True), AddedToken("Leading", lstrip=True, normalized=True)])
    return tokenizer


def fixture_spm_bpe():
    spm("bpe", "spm_bpe", vocab_size=700, byte_fallback=True, user_defined_symbols=["<sep>", "the", "  "], remove_extra_whitespaces=False, normalization_rule_name="identity")
    return WORK / "spm_bpe.model"


def fixture_spm_unigram():
    rules = WORK / "rules.tsv"  # a charsmap small enough to carry
    rules.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in source)}\t{' '.join(f'{ord(c):X}' for c in target)}\n" for source, target in
                             [("ﬁ", "fi"), ("é", "e"), ("e\u0301", "e"), ("\n", " "), ("\t", " "), ("①", "1"), ("ﾞ", ""), ("Å", "A"), ("\u3000", " "), ("…", "...")]))
    spm("unigram", "spm_unigram", vocab_size=400, normalization_rule_tsv=rules.name)
    return WORK / "spm_unigram.model"


def write_fixtures(out):
    expected = []
    for name, make in [(name[8:], make) for name, make in globals().items() if name.startswith("fixture_")]:
        made = make()
        if isinstance(made, Tokenizer):
            file = f"{name}.json"
            made.save(str(out / file))
            reference = Reference(Tokenizer.from_file(str(out / file)))
        else:
            file = f"{name}.model"
            (out / file).write_bytes(made.read_bytes())
            reference = SentencePiece(made)
        for text in FIXTURE_TEXTS:
            ids = reference.encode(text, True)
            expected.append({"file": file, "text": text, "ids": ids, "decoded": reference.decode(ids)})
    (out / "expected.json").write_text("[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in expected) + "\n]\n")


def main():
    if DUMP == "--fixtures":
        return write_fixtures(pathlib.Path(sys.argv[2]))
    cases = {name[5:]: make for name, make in globals().items() if name.startswith("case_")}
    wanted = sys.argv[2:] or list(cases)
    bad = 0
    for name in wanted:
        try:
            bad += compare(name, *cases[name]())
        except RuntimeError as error:
            print(f"FAIL {name}: {error}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
