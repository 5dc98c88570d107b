#include "espalier/io/tokenizers/pre_tokenizer.h"

#include "espalier/core/choice.h"
#include "espalier/io/tokenizers/byte_level.h"
#include "espalier/io/tokenizers/component.h"
#include "espalier/io/tokenizers/metaspace.h"
#include "espalier/io/tokenizers/split.h"

namespace espalier::tok {
namespace {

SplitBehavior behavior_of(const Json& spec, const std::string& where, const std::string& otherwise) {
  static constexpr std::pair<const char*, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  return choice_from_name(where + ".behavior", json_string_or(spec, "behavior", where, otherwise), kNames);
}

class Split : public PreTokenizer {
 public:
  Split(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  static std::unique_ptr<PreTokenizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Split>(make_pattern(spec, where), behavior_of(spec, where, ""),
                                   json_bool_or(spec, "invert", where, false));
  }
  void split(Piece piece, PieceSink& sink) const override {
    split_at(pattern_.spans(piece.text), piece, behavior_, invert_, sink);
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space),
        use_regex_(use_regex),
        // GPT-2: contractions, then words, numbers and other signs with the space before them, then spaces.
        pattern_(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                 Regex::Syntax::kOniguruma, "ByteLevel") {}
  static std::unique_ptr<PreTokenizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<ByteLevel>(json_bool_or(spec, "add_prefix_space", where, true),
                                       json_bool_or(spec, "use_regex", where, true));
  }
  void split(Piece piece, PieceSink& sink) const override {
    std::string prefixed;
    if (add_prefix_space_ && piece.left != Left::kContinuation && !piece.text.starts_with(' ')) {
      prefixed = " ";
      prefixed += piece.text;
      piece.text = prefixed;
    }
    Encoder encoder(sink);
    if (use_regex_) {
      split_at(pattern_.spans(piece.text), piece, SplitBehavior::kIsolated, false, encoder);
    } else {
      encoder.take(piece);
    }
  }

 private:
  class Encoder : public PieceSink {
   public:
    explicit Encoder(PieceSink& next) : next_(next) {}
    void take(Piece piece) override {
      const std::string text = byte_level_text(piece.text);
      next_.take({text, piece.left});
    }

   private:
    PieceSink& next_;
  };
  bool add_prefix_space_, use_regex_;
  Regex pattern_;
};

// Splits at the characters of a class.
template <bool (*InClass)(char32_t)>
class SplitAtClass : public PreTokenizer {
 public:
  explicit SplitAtClass(SplitBehavior behavior) : behavior_(behavior) {}
  void split(Piece piece, PieceSink& sink) const override {
    split_at(CharSpans(piece.text, InClass), piece, behavior_, false, sink);
  }

 private:
  SplitBehavior behavior_;
};

std::unique_ptr<PreTokenizer> make_whitespace_split(const Json&, const std::string&) {
  return std::make_unique<SplitAtClass<is_whitespace>>(SplitBehavior::kRemoved);
}

std::unique_ptr<PreTokenizer> make_punctuation(const Json& spec, const std::string& where) {
  return std::make_unique<SplitAtClass<is_punctuation>>(behavior_of(spec, where, "Isolated"));
}

std::unique_ptr<PreTokenizer> make_digits(const Json& spec, const std::string& where) {
  const bool individual = json_bool_or(spec, "individual_digits", where, false);
  return std::make_unique<SplitAtClass<is_numeric>>(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

// Runs of word characters and runs of other characters that are not white space: \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  static std::unique_ptr<PreTokenizer> make(const Json&, const std::string&) { return std::make_unique<Whitespace>(); }
  void split(Piece piece, PieceSink& sink) const override {
    const auto kind = [](char32_t c) { return is_word(c) ? 2 : is_whitespace(c) ? 0 : 1; };
    const std::string_view text = piece.text;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const int wanted = kind(next_char(text, at));
      for (size_t after = at; after < text.size() && kind(next_char(text, after)) == wanted;) at = after;
      if (wanted != 0) sink.take({text.substr(begin, at - begin), begin == 0 ? piece.left : Left::kInside});
    }
  }
};

class CharDelimiterSplit : public PreTokenizer {
 public:
  explicit CharDelimiterSplit(char32_t delimiter) : delimiter_(delimiter) {}
  static std::unique_ptr<PreTokenizer> make(const Json& spec, const std::string& where) {
    size_t at = 0;
    return std::make_unique<CharDelimiterSplit>(next_char(one_character(spec, "delimiter", where, ""), at));
  }
  void split(Piece piece, PieceSink& sink) const override {
    const auto is_delimiter = [this](char32_t code) { return code == delimiter_; };
    split_at(CharSpans(piece.text, is_delimiter), piece, SplitBehavior::kRemoved, false, sink);
  }

 private:
  char32_t delimiter_;
};

class SpaceSymbolCutter : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink& sink) const override {
    constexpr std::string_view kSymbol = "▁";
    const std::string_view text = piece.text;
    size_t begin = 0;
    for (size_t at = text.find(kSymbol, 1); at != std::string_view::npos;
         at = text.find(kSymbol, at + kSymbol.size())) {
      if (text.substr(0, at).ends_with(kSymbol)) continue;  // a run of them stays whole
      sink.take({text.substr(begin, at - begin), begin == 0 ? piece.left : Left::kInside});
      begin = at;
    }
    sink.take({text.substr(begin), begin == 0 ? piece.left : Left::kInside});
  }
};

// Each stage feeds the next.
class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> stages) : stages_(std::move(stages)) {}
  static std::unique_ptr<PreTokenizer> make(const Json& spec, const std::string& where) {
    auto stages = make_sequence<PreTokenizer>(spec, "pretokenizers", make_pre_tokenizer, where);
    std::erase(stages, nullptr);
    return std::make_unique<PreTokenizerSequence>(std::move(stages));
  }
  void split(Piece piece, PieceSink& sink) const override { run(0, piece, sink); }

 private:
  struct Next : PieceSink {
    Next(const PreTokenizerSequence& own, size_t at, PieceSink& last) : sequence(own), stage(at), sink(last) {}
    void take(Piece piece) override { sequence.run(stage, piece, sink); }
    const PreTokenizerSequence& sequence;
    size_t stage;
    PieceSink& sink;
  };
  void run(size_t stage, Piece piece, PieceSink& sink) const {
    if (stage == stages_.size()) return sink.take(piece);
    Next next(*this, stage + 1, sink);
    stages_[stage]->split(piece, next);
  }

  std::vector<std::unique_ptr<PreTokenizer>> stages_;
};

// BERT: white space vanishes, each punctuation mark stands alone.
std::unique_ptr<PreTokenizer> make_bert(const Json&, const std::string&) {
  std::vector<std::unique_ptr<PreTokenizer>> stages;
  stages.push_back(std::make_unique<SplitAtClass<is_whitespace>>(SplitBehavior::kRemoved));
  stages.push_back(std::make_unique<SplitAtClass<is_punctuation>>(SplitBehavior::kIsolated));
  return std::make_unique<PreTokenizerSequence>(std::move(stages));
}

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(MetaspaceOptions options) : options_(std::move(options)) {}
  static std::unique_ptr<PreTokenizer> make(const Json& spec, const std::string& where) {
    return std::make_unique<Metaspace>(metaspace_options(spec, where));
  }
  void split(Piece piece, PieceSink& sink) const override {
    const std::string text = options_.mark(piece);
    const Piece marked{text, piece.left};
    if (!options_.split) return sink.take(marked);
    size_t at = 0;
    const char32_t symbol = next_char(options_.replacement, at);
    const auto is_symbol = [symbol](char32_t code) { return code == symbol; };
    split_at(CharSpans(marked.text, is_symbol), marked, SplitBehavior::kMergedWithNext, false, sink);
  }

 private:
  MetaspaceOptions options_;
};

const Factories<PreTokenizer>& pre_tokenizer_factories() {
  static const Factories<PreTokenizer> table = {
      {"Sequence", PreTokenizerSequence::make},
      {"ByteLevel", ByteLevel::make},
      {"Split", Split::make},
      {"Whitespace", Whitespace::make},
      {"WhitespaceSplit", make_whitespace_split},
      {"BertPreTokenizer", make_bert},
      {"Punctuation", make_punctuation},
      {"Digits", make_digits},
      {"Metaspace", Metaspace::make},
      {"CharDelimiterSplit", CharDelimiterSplit::make},
  };
  return table;
}

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec, const std::string& where) {
  return spec.is_null() ? nullptr : make_stage(spec, pre_tokenizer_factories(), where);
}

std::unique_ptr<PreTokenizer> make_space_symbol_cutter() { return std::make_unique<SpaceSymbolCutter>(); }

}  // namespace espalier::tok
