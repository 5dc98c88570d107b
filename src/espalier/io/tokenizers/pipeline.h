// The stages of a tokenizer, in the order of Hugging Face's library "tokenizers": added tokens, normalizer,
// pre-tokenizer, model, post-processor; and the decoder for the way back. Every file format is mapped onto this.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizers/added_tokens.h"
#include "espalier/io/tokenizers/decoder.h"
#include "espalier/io/tokenizers/model.h"
#include "espalier/io/tokenizers/normalizer.h"
#include "espalier/io/tokenizers/post_processor.h"
#include "espalier/io/tokenizers/pre_tokenizer.h"

namespace espalier::tok {

struct SpecialIds {
  std::optional<int32_t> bos, eos, pad, unk, mask;
  std::vector<int32_t> stop;  // every id that ends generation; contains eos
};

struct Pipeline {
  std::string where;  // the file, for errors
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<Model> model;
  AddedTokens added;
  PostProcessor post;
  std::unique_ptr<Decoder> decoder;
  SpecialIds special;

  // Ids of valid UTF-8, without the special tokens of the post-processor.
  std::vector<int32_t> encode(std::string_view text, Left left) const;
  // Ids that name no token are passed over.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  const std::string* token(int32_t id) const;  // nullptr: no such id
  std::optional<int32_t> find(std::string_view token) const;
  int32_t end_id() const { return std::max(model->vocab().end_id(), added.end_id()); }

 private:
  void encode_plain(std::string_view text, Left left, PieceSink& model_sink) const;
};

// tokenizer.json.
Pipeline pipeline_from_json(const Json& root, const std::string& where);

}  // namespace espalier::tok
