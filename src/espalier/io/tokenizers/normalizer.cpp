#include "espalier/io/tokenizers/normalizer.h"

#include "espalier/io/tokenizers/byte_level.h"
#include "espalier/io/tokenizers/charsmap.h"
#include "espalier/io/tokenizers/component.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

// A normaliser that is a function of the text alone.
template <std::string (*Function)(std::string_view)>
class Plain : public Normalizer {
 public:
  std::string normalize(std::string_view text, Left) const override { return Function(text); }
  static std::unique_ptr<Normalizer> make(const Json&, const std::string&) { return std::make_unique<Plain>(); }
};

template <NormalForm Form>
std::string to_form(std::string_view text) {
  return normal_form(text, Form);
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) append_lowercase(out, next_char(text, at));
  return out;
}

template <bool (*Drop)(char32_t)>
std::string without(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!Drop(next_char(text, at))) out += text.substr(begin, at - begin);
  }
  return out;
}

// The rules of Google's neural machine translation: control characters go, odd spaces become a space.
std::string nmt(std::string_view text) {
  const auto dropped = [](char32_t c) {
    return (c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
  };
  const auto space = [](char32_t c) {
    return c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
           c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
  };
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_char(text, at);
    if (!dropped(code)) append_utf8(out, space(code) ? U' ' : code);
  }
  return out;
}

std::string to_byte_level(std::string_view text) { return byte_level_text(text); }

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Strip>(json_bool_or(spec, "strip_left", where, true),
                                   json_bool_or(spec, "strip_right", where, true));
  }
  std::string normalize(std::string_view text, Left left) const override {
    size_t begin = 0, end = text.size();
    if (left_ && left != Left::kContinuation) {
      for (size_t at = 0; at < end && is_whitespace(next_char(text, at));) begin = at;
    }
    while (right_ && end > begin && is_whitespace(char_before(text, end))) {
      do --end;
      while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
    }
    return std::string(text.substr(begin, end - begin));
  }

 private:
  bool left_, right_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Replace>(make_pattern(spec, where), json_string(spec, "content", where));
  }
  std::string normalize(std::string_view text, Left) const override { return pattern_.replace_all(text, content_); }

 private:
  Regex pattern_;
  std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Prepend>(json_string(spec, "prepend", where));
  }
  std::string normalize(std::string_view text, Left left) const override {
    return text.empty() || left == Left::kContinuation ? std::string(text) : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

// BERT's basic cleaning, in its order.
class Bert : public Normalizer {
 public:
  Bert(const Json& spec, const std::string& where)
      : clean_(json_bool_or(spec, "clean_text", where, true)),
        chinese_(json_bool_or(spec, "handle_chinese_chars", where, true)),
        lower_(json_bool_or(spec, "lowercase", where, true)),
        strip_accents_(json_bool_or(spec, "strip_accents", where, lower_)) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Bert>(spec, where);
  }
  std::string normalize(std::string_view text, Left) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) append(out, next_char(text, at));
    if (strip_accents_) out = without<is_nonspacing_mark>(normal_form(out, NormalForm::kNfd));
    return lower_ ? lowercase(out) : out;
  }

 private:
  static bool is_chinese(char32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
  }
  void append(std::string& out, char32_t code) const {
    const bool blank = is_whitespace(code);
    const bool kept = code == '\t' || code == '\n' || code == '\r';
    if (clean_ && !kept && (code == 0xfffd || is_control(code))) return;
    if (chinese_ && is_chinese(code)) {
      out += ' ';
      append_utf8(out, code);
      out += ' ';
    } else {
      append_utf8(out, clean_ && blank ? U' ' : code);
    }
  }

  bool clean_, chinese_, lower_, strip_accents_;
};

// As the library "tokenizers" applies a charsmap: to a whole grapheme cluster of fewer than six bytes if anything
// at its front matches, else to each character.
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Precompiled>(
        Charsmap(decode_base64(json_string(spec, "precompiled_charsmap", where), where), where));
  }
  std::string normalize(std::string_view text, Left) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const size_t end = grapheme_end(text, at);
      append_cluster(out, text.substr(at, end - at));
      check_growth(out.size(), text.size(), "the normalizer Precompiled");
      at = end;
    }
    return out;
  }

 private:
  void append_cluster(std::string& out, std::string_view cluster) const {
    if (cluster.size() < 6) {
      if (const auto match = map_.shortest_prefix(cluster)) {
        out += match->replacement;
        return;
      }
    }
    for (size_t at = 0; at < cluster.size();) {
      const size_t bytes = char_bytes(static_cast<unsigned char>(cluster[at]));
      const auto match = map_.shortest_prefix(cluster.substr(at, bytes));
      out += match ? match->replacement : cluster.substr(at, bytes);
      at += bytes;
    }
  }

  Charsmap map_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> stages) : stages_(std::move(stages)) {}
  static std::unique_ptr<Normalizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<NormalizerSequence>(make_sequence<Normalizer>(spec, "normalizers", make_normalizer, where));
  }
  std::string normalize(std::string_view text, Left left) const override {
    std::string out(text);
    for (const auto& stage : stages_) {
      if (stage) out = stage->normalize(out, left);
      check_growth(out.size(), text.size(), "the normalizer Sequence");
    }
    return out;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> stages_;
};

const Factories<Normalizer>& normalizer_factories() {
  static const Factories<Normalizer> table = {
      {"Sequence", NormalizerSequence::make},
      {"NFC", Plain<to_form<NormalForm::kNfc>>::make},
      {"NFD", Plain<to_form<NormalForm::kNfd>>::make},
      {"NFKC", Plain<to_form<NormalForm::kNfkc>>::make},
      {"NFKD", Plain<to_form<NormalForm::kNfkd>>::make},
      {"Lowercase", Plain<lowercase>::make},
      {"StripAccents", Plain<without<is_mark>>::make},
      {"Strip", Strip::make},
      {"BertNormalizer", Bert::make},
      {"Replace", Replace::make},
      {"Prepend", Prepend::make},
      {"Nmt", Plain<nmt>::make},
      {"Precompiled", Precompiled::make},
      {"ByteLevel", Plain<to_byte_level>::make},
  };
  return table;
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& spec, const std::string& where) {
  return spec.is_null() ? nullptr : make_stage(spec, normalizer_factories(), where);
}

Regex make_pattern(const Json& spec, const std::string& where) {
  const auto pattern = spec.find("pattern");
  if (pattern != spec.end() && pattern->is_object() && pattern->size() == 1) {
    if (pattern->contains("String")) return {json_string(*pattern, "String", where), Regex::Syntax::kLiteral, where};
    if (pattern->contains("Regex")) return {json_string(*pattern, "Regex", where), Regex::Syntax::kOniguruma, where};
  }
  throw UserError(where, "pattern", "{\"String\": text} or {\"Regex\": pattern}",
                  pattern == spec.end() ? "nothing" : describe(*pattern));
}

std::string one_character(const Json& spec, const std::string& key, const std::string& where,
                          const std::string& otherwise) {
  const std::string text = json_string_or(spec, key, where, otherwise);
  if (text.empty() || text.size() != char_bytes(static_cast<unsigned char>(text[0])))
    throw UserError(where, key, "one character", fmt::format("'{}'", printable(text)));
  return text;
}

}  // namespace espalier::tok
