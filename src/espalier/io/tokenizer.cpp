#include "espalier/io/tokenizer.h"

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizers/pipeline.h"
#include "espalier/io/tokenizers/plain_files.h"
#include "espalier/io/tokenizers/sentencepiece.h"
#include "espalier/io/tokenizers/sidecars.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxFileBytes = 128 << 20;  // the largest tokenizer.json in use has 33 MB

// The file that decides the format.
fs::path main_file(const fs::path& path) {
  std::error_code error;
  const auto there = [&](const fs::path& file) { return fs::exists(file, error); };
  if (!there(path)) user_error("{}: no such file or directory", path.string());
  if (!fs::is_directory(path, error)) return path.filename() == "merges.txt" ? path.parent_path() / "vocab.json" : path;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (there(path / name)) return path / name;
  }
  if (there(path / "vocab.json") && there(path / "merges.txt")) return path / "vocab.json";
  if (there(path / "vocab.txt")) return path / "vocab.txt";
  user_error("{}: no tokenizer: expected tokenizer.json, tokenizer.model, vocab.json with merges.txt, or vocab.txt",
             path.string());
}

tok::Pipeline load_pipeline(const fs::path& file, const tok::Sidecars& sidecars) {
  const std::string extension = file.extension().string();
  if (file.filename() == "vocab.json")
    return tok::pipeline_from_gpt2(file, file.parent_path() / "merges.txt", sidecars);
  if (extension == ".json") return tok::pipeline_from_json(read_json(file, kMaxFileBytes), file.string());
  if (extension == ".model")
    return tok::pipeline_from_sentencepiece(read_file(file, kMaxFileBytes), file.string(), sidecars.added_tokens());
  if (extension == ".txt") return tok::pipeline_from_bert(file, sidecars);
  throw UserError(file.string(), "tokenizer", "a file .json, .model or .txt", printable(file.filename().string()));
}

}  // namespace

Tokenizer::Tokenizer(tok::Pipeline pipeline, std::vector<fs::path> files)
    : pipeline_(std::make_unique<const tok::Pipeline>(std::move(pipeline))), files_(std::move(files)) {}

Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& directory_or_file) {
  const fs::path file = main_file(directory_or_file);
  const tok::Sidecars sidecars(file.parent_path());
  tok::Pipeline pipeline = load_pipeline(file, sidecars);
  sidecars.apply_special_ids(pipeline);
  // tokenizer.json says by its post-processor what is added.
  if (file.extension() != ".json" || file.filename() == "vocab.json") sidecars.apply_bos_eos_flags(pipeline);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(pipeline), tok::tokenizer_files(file.parent_path())));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_json(std::string_view text, const std::string& where) {
  return std::shared_ptr<const Tokenizer>(new Tokenizer(tok::pipeline_from_json(parse_json(text, where), where)));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_sentencepiece(std::string_view bytes, const std::string& where) {
  return std::shared_ptr<const Tokenizer>(new Tokenizer(tok::pipeline_from_sentencepiece(bytes, where)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, bool add_special_tokens) const {
  if (const size_t valid = valid_utf8_prefix(utf8); valid < utf8.size())
    user_error("text to tokenize: not valid UTF-8 at byte {}", valid);
  std::vector<int32_t> ids = pipeline_->encode(utf8, tok::Left::kTextStart);
  if (!add_special_tokens) return ids;
  ids.insert(ids.begin(), special_prefix().begin(), special_prefix().end());
  ids.insert(ids.end(), special_suffix().begin(), special_suffix().end());
  return ids;
}

std::vector<int32_t> Tokenizer::encode_continuation(std::string_view utf8) const {
  if (const size_t valid = valid_utf8_prefix(utf8); valid < utf8.size())
    user_error("text to tokenize: not valid UTF-8 at byte {}", valid);
  return pipeline_->encode(utf8, tok::Left::kContinuation);
}

const std::vector<int32_t>& Tokenizer::special_prefix() const { return pipeline_->post.prefix; }
const std::vector<int32_t>& Tokenizer::special_suffix() const { return pipeline_->post.suffix; }

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  return pipeline_->decode(ids, skip_special_tokens);
}

int32_t Tokenizer::vocab_size() const { return pipeline_->end_id(); }
std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const { return pipeline_->find(token); }

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  const std::string* token = pipeline_->token(id);
  return token ? std::optional(*token) : std::nullopt;
}

bool Tokenizer::is_special(int32_t id) const {
  const tok::AddedToken* token = pipeline_->added.by_id(id);
  return token && token->special;
}

std::optional<int32_t> Tokenizer::bos_id() const { return pipeline_->special.bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return pipeline_->special.eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return pipeline_->special.pad; }
std::optional<int32_t> Tokenizer::unk_id() const { return pipeline_->special.unk; }

std::optional<int32_t> Tokenizer::mask_id() const {
  if (pipeline_->special.mask) return pipeline_->special.mask;
  for (const char* usual : {"[MASK]", "<mask>"})
    if (const auto id = token_to_id(usual); id && is_special(*id)) return id;
  return std::nullopt;
}

const std::vector<int32_t>& Tokenizer::stop_ids() const { return pipeline_->special.stop; }

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return "";
  ids_.push_back(id);
  // A character has at most four bytes, so after more tokens than that a U+FFFD at the end is not waiting for more.
  constexpr size_t kMaxWaiting = 4;
  const std::string text = tokenizer_->decode(ids_, skip_special_tokens_);
  const bool unfinished = text.ends_with("\xef\xbf\xbd") && ids_.size() - context_ <= kMaxWaiting;
  return unfinished ? "" : take(text);
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_->decode(ids_, skip_special_tokens_);
  const std::string rest = take(text);
  ids_.clear();
  context_ = 0;
  shown_.clear();
  return rest;
}

std::string StreamDecoder::take(const std::string& text) {
  if (text == shown_) return "";  // a token without text waits for one that has some
  // Bytes that are no character can change how the bytes before them decode; what was returned stays.
  const bool extends = text.starts_with(shown_);
  std::string fresh = extends ? text.substr(shown_.size())
                              : tokenizer_->decode(std::span(ids_).subspan(context_), skip_special_tokens_);
  // Spaces alone are no context: at the front of a text they may vanish.
  std::string last = tokenizer_->decode(std::span(ids_).subspan(context_), skip_special_tokens_);
  if (last.find_first_not_of(' ') == std::string::npos) {
    shown_ = text;
  } else {
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(context_));
    shown_ = std::move(last);
  }
  context_ = ids_.size();
  return fresh;
}

}  // namespace espalier
