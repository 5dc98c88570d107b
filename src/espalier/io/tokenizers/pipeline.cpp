#include "espalier/io/tokenizers/pipeline.h"

#include <unordered_map>

#include "espalier/core/error.h"

namespace espalier::tok {
namespace {

// Hands pieces to the model; the ids of short pieces are kept for the length of one call, as words repeat.
class ModelSink : public PieceSink {
 public:
  ModelSink(const Model& model, std::vector<int32_t>& ids) : model_(model), ids_(ids) {}

  void take(Piece piece) override {
    constexpr size_t kMaxCachedBytes = 32, kMaxCachedPieces = 1 << 16;
    if (piece.text.size() > kMaxCachedBytes) return run(piece.text);
    if (const auto found = cache_.find(piece.text); found != cache_.end()) {
      // The cached ids stand in the vector that grows here.
      for (auto [at, end] = found->second; at < end; ++at) ids_.push_back(int32_t{ids_[at]});
      return;
    }
    const size_t begin = ids_.size();
    run(piece.text);
    if (cache_.size() < kMaxCachedPieces) cache_.emplace(std::string(piece.text), std::pair(begin, ids_.size()));
  }

 private:
  void run(std::string_view text) {
    if (text.size() >= INT32_MAX)
      user_error("text of {} bytes without a place to cut it; at most {}", text.size(), INT32_MAX);
    model_.tokenize(text, ids_);
  }

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  const Model& model_;
  std::vector<int32_t>& ids_;
  std::unordered_map<std::string, std::pair<size_t, size_t>, Hash, std::equal_to<>> cache_;
};

class CutterSink : public PieceSink {
 public:
  CutterSink(const PreTokenizer& cutter, PieceSink& next) : cutter_(cutter), next_(next) {}
  void take(Piece piece) override { cutter_.split(piece, next_); }

 private:
  const PreTokenizer& cutter_;
  PieceSink& next_;
};

Left left_of(size_t begin, Left outer) { return begin == 0 ? outer : Left::kInside; }

}  // namespace

std::vector<int32_t> Pipeline::encode(std::string_view text, Left left) const {
  static const std::unique_ptr<PreTokenizer> cutter = make_space_symbol_cutter();
  std::vector<int32_t> ids;
  ModelSink model_sink(*model, ids);
  CutterSink cutter_sink(*cutter, model_sink);
  PieceSink& sink = model->cuts_at_space_symbol() ? static_cast<PieceSink&>(cutter_sink) : model_sink;
  for (const auto& outer : added.segments(text, false)) {
    if (outer.token) {
      ids.push_back(outer.token->id);
      continue;
    }
    const Left outer_left = left_of(outer.begin, left);
    const std::string_view plain = text.substr(outer.begin, outer.end - outer.begin);
    const std::string normal = normalizer ? normalizer->normalize(plain, outer_left) : std::string(plain);
    for (const auto& inner : added.segments(normal, true)) {
      if (inner.token) {
        ids.push_back(inner.token->id);
      } else {
        encode_plain(std::string_view(normal).substr(inner.begin, inner.end - inner.begin),
                     left_of(inner.begin, outer_left), sink);
      }
    }
  }
  return ids;
}

void Pipeline::encode_plain(std::string_view text, Left left, PieceSink& model_sink) const {
  if (pre_tokenizer) {
    pre_tokenizer->split({text, left}, model_sink);
  } else {
    model_sink.take({text, left});
  }
}

const std::string* Pipeline::token(int32_t id) const {
  if (const AddedToken* token = added.by_id(id)) return &token->content;
  return model->vocab().token(id);
}

std::optional<int32_t> Pipeline::find(std::string_view token) const {
  if (const AddedToken* known = added.by_content(token)) return known->id;
  return model->vocab().find(token);
}

std::string Pipeline::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  Tokens tokens;
  for (int32_t id : ids) {
    const AddedToken* added_token = added.by_id(id);
    if (skip_special_tokens && added_token && added_token->special) continue;
    const std::string* text = added_token ? &added.text_of(*added_token) : model->vocab().token(id);
    if (text) tokens.push_back(*text);
  }
  if (decoder) decoder->apply(tokens);
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && !decoder) out += ' ';
    out += tokens[i];
  }
  return out;
}

Pipeline pipeline_from_json(const Json& root, const std::string& where) {
  if (!root.is_object()) throw UserError(where, "top level", "an object", describe(root));
  if (!root.contains("model") || !root["model"].is_object())
    user_error("{}: the field 'model' is missing or no object", where);
  const auto part = [&](const char* key) -> const Json& {
    static const Json null;
    const auto found = root.find(key);
    return found == root.end() ? null : *found;
  };
  Pipeline pipeline;
  pipeline.where = where;
  pipeline.normalizer = make_normalizer(part("normalizer"), where + ": normalizer");
  pipeline.pre_tokenizer = make_pre_tokenizer(part("pre_tokenizer"), where + ": pre_tokenizer");
  pipeline.model = make_model(root["model"], where + ": model");
  const std::string added_where = where + ": added_tokens";
  pipeline.added = AddedTokens(added_tokens_from_json(part("added_tokens"), added_where), pipeline.model->vocab(),
                               pipeline.normalizer.get(), added_where);
  const auto has_id = [&](int32_t id) { return pipeline.token(id) != nullptr; };
  pipeline.post = make_post_processor(part("post_processor"), has_id, where + ": post_processor");
  pipeline.decoder = make_decoder(part("decoder"), where + ": decoder");
  return pipeline;
}

}  // namespace espalier::tok
