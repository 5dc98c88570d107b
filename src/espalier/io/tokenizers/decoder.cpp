#include "espalier/io/tokenizers/decoder.h"

#include <charconv>
#include <numeric>
#include <optional>

#include "espalier/io/tokenizers/byte_level.h"
#include "espalier/io/tokenizers/component.h"
#include "espalier/io/tokenizers/metaspace.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = from.empty() ? std::string::npos : text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t begin = 0;
  for (; at != std::string::npos; at = text.find(from, begin)) {
    out.append(text, begin, at - begin).append(to);
    begin = at + from.size();
  }
  text = out.append(text, begin, std::string::npos);
}

size_t total_bytes(const Tokens& tokens) {
  return std::accumulate(tokens.begin(), tokens.end(), size_t{0},
                         [](size_t sum, const auto& text) { return sum + text.size(); });
}

class ByteLevelDecoder : public Decoder {
 public:
  static std::unique_ptr<Decoder> make(const Json&, const std::string&) { return std::make_unique<ByteLevelDecoder>(); }
  void apply(Tokens& tokens) const override {
    std::string bytes;
    for (const auto& token : tokens) append_byte_level_bytes(bytes, token);
    tokens = {lossy_utf8(bytes)};
  }
};

// Tokens "<0x0A>" are bytes; a run of them that is not UTF-8 becomes one U+FFFD a byte.
class ByteFallback : public Decoder {
 public:
  static std::unique_ptr<Decoder> make(const Json&, const std::string&) { return std::make_unique<ByteFallback>(); }
  void apply(Tokens& tokens) const override {
    Tokens out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), "\xef\xbf\xbd");
      }
      run.clear();
    };
    for (auto& token : tokens) {
      if (const auto byte = byte_of(token)) {
        run += *byte;
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }

 private:
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
    unsigned value = 0;
    const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
    if (error != std::errc() || end != token.data() + 5) return std::nullopt;
    return static_cast<char>(value);
  }
};

class Fuse : public Decoder {
 public:
  static std::unique_ptr<Decoder> make(const Json&, const std::string&) { return std::make_unique<Fuse>(); }
  void apply(Tokens& tokens) const override {
    std::string whole;
    whole.reserve(total_bytes(tokens));
    for (const auto& token : tokens) whole += token;
    tokens = {std::move(whole)};
  }
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    return std::make_unique<ReplaceDecoder>(make_pattern(spec, where), json_string(spec, "content", where));
  }
  void apply(Tokens& tokens) const override {
    for (auto& token : tokens) token = pattern_.replace_all(token, content_);
  }

 private:
  Regex pattern_;
  std::string content_;
};

// Takes up to `start` characters `content` off the front of each token, and up to `stop` off its end.
class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    return std::make_unique<StripDecoder>(one_character(spec, "content", where, ""),
                                   json_int_or(spec, "start", where, 0, INT32_MAX, 0),
                                   json_int_or(spec, "stop", where, 0, INT32_MAX, 0));
  }
  void apply(Tokens& tokens) const override {
    for (auto& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(MetaspaceOptions options) : options_(std::move(options)) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    return std::make_unique<MetaspaceDecoder>(metaspace_options(spec, where));
  }
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool drop = i == 0 && options_.prepend != PrependScheme::kNever;
      replace_all(tokens[i], options_.replacement, drop ? "" : " ");
    }
  }

 private:
  MetaspaceOptions options_;
};

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    return std::make_unique<WordPieceDecoder>(json_string_or(spec, "prefix", where, "##"),
                                       json_bool_or(spec, "cleanup", where, true));
  }
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) tokens[i] = tokens[i].starts_with(prefix_) ? tokens[i].substr(prefix_.size()) : " " + tokens[i];
      if (cleanup_) clean(tokens[i]);
    }
  }

 private:
  // Undoes the spaces that English tokenisation puts before punctuation and contractions.
  static void clean(std::string& text) {
    static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto& [from, to] : kRules) replace_all(text, from, to);
  }
  std::string prefix_;
  bool cleanup_;
};

// The suffix that marks the end of a word becomes a space, except at the very end.
class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    return std::make_unique<BpeDecoder>(json_string_or(spec, "suffix", where, "</w>"));
  }
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<Decoder>> stages) : stages_(std::move(stages)) {}
  static std::unique_ptr<Decoder> make(const Json& spec, const std::string& where) {
    auto stages = make_sequence<Decoder>(spec, "decoders", make_decoder, where);
    std::erase(stages, nullptr);
    return std::make_unique<DecoderSequence>(std::move(stages));
  }
  void apply(Tokens& tokens) const override {
    const size_t before = total_bytes(tokens);
    for (const auto& stage : stages_) {
      stage->apply(tokens);
      check_growth(total_bytes(tokens), before, "the decoder Sequence");
    }
  }

 private:
  std::vector<std::unique_ptr<Decoder>> stages_;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Json& spec, const std::string& where) {
  static const Factories<Decoder> factories = {
      {"ByteLevel", ByteLevelDecoder::make}, {"ByteFallback", ByteFallback::make},
      {"Fuse", Fuse::make},                  {"Replace", ReplaceDecoder::make},
      {"Strip", StripDecoder::make},         {"Metaspace", MetaspaceDecoder::make},
      {"WordPiece", WordPieceDecoder::make}, {"BPEDecoder", BpeDecoder::make},
      {"Sequence", DecoderSequence::make},
  };
  return spec.is_null() ? nullptr : make_stage(spec, factories, where);
}

}  // namespace espalier::tok
