// The formats older than tokenizer.json: GPT-2's vocab.json with merges.txt, and BERT's vocab.txt.
#pragma once

#include <filesystem>

#include "espalier/io/tokenizers/pipeline.h"
#include "espalier/io/tokenizers/sidecars.h"

namespace espalier::tok {

// Byte-level BPE with GPT-2's way to split words. UserError where the files beside say that the model is of another
// family, whose way to split is not written in these two files.
Pipeline pipeline_from_gpt2(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt,
                            const Sidecars& sidecars);

// WordPiece with BERT's cleaning; [CLS] before and [SEP] behind a text. Whether to lower the case is read from
// tokenizer_config.json (do_lower_case); without it, from whether the vocabulary has capital letters.
Pipeline pipeline_from_bert(const std::filesystem::path& vocab_txt, const Sidecars& sidecars);

}  // namespace espalier::tok
