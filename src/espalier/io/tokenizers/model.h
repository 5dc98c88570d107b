// The third stage: a piece of text to token ids.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/vocab.h"

namespace espalier::tok {

class Model {
 public:
  explicit Model(Vocab vocab) : vocab_(std::move(vocab)) {}
  virtual ~Model() = default;
  // Appends the ids of `piece`, which is not empty. Thread-safe.
  virtual void tokenize(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  // Whether text may be cut before a '▁' that follows another character without changing any id.
  virtual bool cuts_at_space_symbol() const { return false; }
  const Vocab& vocab() const { return vocab_; }

 protected:
  // Whether '▁' is a token and no listed token has one behind another character.
  bool space_symbol_only_leads() const;
  Vocab vocab_;
};

// The object "model" of tokenizer.json. UserError for every inconsistency that the model could trip over.
std::unique_ptr<Model> make_model(const Json& spec, const std::string& where);

std::unique_ptr<Model> make_bpe(const Json& spec, const std::string& where);
std::unique_ptr<Model> make_word_piece(const Json& spec, const std::string& where);
std::unique_ptr<Model> make_word_level(const Json& spec, const std::string& where);
std::unique_ptr<Model> make_unigram(const Json& spec, const std::string& where);

// The vocabulary as an object from token to id.
Vocab vocab_from_json(const Json& tokens, const std::string& where);

}  // namespace espalier::tok
