// The forms in which weights are stored and multiplied, and their names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "espalier/core/dtype.h"

namespace espalier {

enum class Precision : uint8_t { kF32, kBF16, kF16, kI8 };
enum class Layout : uint8_t {
  kDense,
  kNOfM,     // n of every m consecutive columns are stored
  kBitmap,   // one bit a column, the kept values in row order
  kBlock16,  // blocks of 1 row × 16 columns are stored or left out
};

struct WeightForm {
  Precision precision = Precision::kF32;
  Layout layout = Layout::kDense;
  int64_t group = 0;     // int8: columns that share a scale (32, 64, 128); 0: the whole row
  int64_t n = 0, m = 0;  // of kNOfM
  bool operator==(const WeightForm&) const = default;
};

// "bf16", "int8/64 dense", "bf16 2:4", "fp32 bitmap", "int8/32 block:1x16"; and back. UserError naming `where`.
std::string to_string(const WeightForm& form);
WeightForm parse_weight_form(const std::string& text, const std::string& where);

// What --pack asks for: "none", "auto", or the words of a form joined by '+', in which the precision may be missing: then it
// is the weight's own. UserError.
struct PackChoice {
  bool none = true, best = false;  // best: of each weight what suggest_form says
  std::optional<Precision> precision;
  WeightForm form;  // its precision counts when there is one
};
PackChoice parse_pack(const std::string& text, const std::string& where);

DType dtype_of(Precision precision);
std::optional<Precision> precision_of(DType dtype);  // none: no weight is multiplied in it

// Kernels load whole vectors: this many values after the last one can be read (and mean nothing).
constexpr int64_t kValueSlack = 64;
constexpr int64_t kBlockColumns = 16;
// Bytes of a row of a bitmap: whole words of 64 columns; the bits beyond the last column are 0.
inline int64_t bitmap_stride(int64_t columns) { return (columns + 63) / 64 * 8; }
inline int64_t scales_in_row(const WeightForm& form, int64_t columns) {
  return form.group == 0 ? 1 : (columns + form.group - 1) / form.group;
}

}  // namespace espalier
