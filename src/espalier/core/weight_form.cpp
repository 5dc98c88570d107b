#include "espalier/core/weight_form.h"

#include <cstdio>
#include <tuple>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr const char* kWords = "fp32, bf16, fp16, int8 or int8/32, /64, /128, and dense, N:M, bitmap or block:1x16";

std::string precision_text(const WeightForm& form) {
  switch (form.precision) {
    case Precision::kF32: return "fp32";
    case Precision::kBF16: return "bf16";
    case Precision::kF16: return "fp16";
    case Precision::kI8: return form.group == 0 ? "int8" : fmt::format("int8/{}", form.group);
  }
  ESP_ASSERT(false, "precision {}", static_cast<int>(form.precision));
  return "";
}

std::string layout_text(const WeightForm& form) {
  switch (form.layout) {
    case Layout::kDense: return form.precision == Precision::kI8 ? " dense" : "";
    case Layout::kNOfM: return fmt::format(" {}:{}", form.n, form.m);
    case Layout::kBitmap: return " bitmap";
    case Layout::kBlock16: return " block:1x16";
  }
  ESP_ASSERT(false, "layout {}", static_cast<int>(form.layout));
  return "";
}

std::vector<std::string> words_of(const std::string& text, char between) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == between) {
      words.emplace_back();
    } else {
      words.back().push_back(c);
    }
  }
  return words;
}

bool read_precision(const std::string& word, std::optional<Precision>& precision, WeightForm& form) {
  for (const auto& [name, value, group] :
       {std::tuple{"fp32", Precision::kF32, 0}, {"bf16", Precision::kBF16, 0}, {"fp16", Precision::kF16, 0}, {"int8", Precision::kI8, 0},
        {"int8/32", Precision::kI8, 32}, {"int8/64", Precision::kI8, 64}, {"int8/128", Precision::kI8, 128}}) {
    if (word != name) continue;
    precision = value;
    form.precision = value;
    form.group = group;
    return true;
  }
  return false;
}

bool read_layout(const std::string& word, WeightForm& form) {
  int n = 0, m = 0, used = 0;
  if (word == "dense") {
    form.layout = Layout::kDense;
  } else if (word == "bitmap") {
    form.layout = Layout::kBitmap;
  } else if (word == "block:1x16") {
    form.layout = Layout::kBlock16;
  } else if (word.size() < 8 && std::sscanf(word.c_str(), "%d:%d%n", &n, &m, &used) == 2 && used == static_cast<int>(word.size()) &&
             n > 0 && n < m && m <= 64) {
    form.layout = Layout::kNOfM;
    form.n = n;
    form.m = m;
  } else {
    return false;
  }
  return true;
}

// At most one word of each kind, the precision first.
bool read_words(const std::vector<std::string>& words, std::optional<Precision>& precision, WeightForm& form) {
  size_t next = 0;
  if (read_precision(words[0], precision, form)) ++next;
  if (next < words.size() && read_layout(words[next], form)) ++next;
  return next == words.size();
}

}  // namespace

std::string to_string(const WeightForm& form) { return precision_text(form) + layout_text(form); }

WeightForm parse_weight_form(const std::string& text, const std::string& where) {
  std::optional<Precision> precision;
  WeightForm form;
  if (!read_words(words_of(text, ' '), precision, form) || !precision) throw UserError(where, "form", kWords, "'" + printable(text) + "'");
  return form;
}

PackChoice parse_pack(const std::string& text, const std::string& where) {
  PackChoice choice;
  if (text == "none") return choice;
  choice.none = false;
  choice.best = text == "auto";
  if (choice.best) return choice;
  const bool read = read_words(words_of(text, '+'), choice.precision, choice.form);
  const bool says_something = choice.form.layout != Layout::kDense || choice.precision == Precision::kI8;
  if (!read || !says_something)
    throw UserError(where, "form", fmt::format("none, auto, or words joined by '+' of {}, not all of them dense floats", kWords),
                    "'" + printable(text) + "'");
  return choice;
}

DType dtype_of(Precision precision) {
  switch (precision) {
    case Precision::kF32: return DType::kF32;
    case Precision::kBF16: return DType::kBF16;
    case Precision::kF16: return DType::kF16;
    case Precision::kI8: return DType::kI8;
  }
  ESP_ASSERT(false, "precision {}", static_cast<int>(precision));
  return DType::kF32;
}

std::optional<Precision> precision_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return Precision::kF32;
    case DType::kBF16: return Precision::kBF16;
    case DType::kF16: return Precision::kF16;
    default: return std::nullopt;
  }
}

}  // namespace espalier
