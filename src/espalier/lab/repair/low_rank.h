// Low-rank adapters, and the forms that can be merged into a sparse weight without losing a zero (PERP, 2023).
// W [out, in], A [rank, in], B [out, rank], M the weight's mask, s = alpha / rank:
//   lora        W + s B A         merging fills the zeros: for dense weights
//   lora_prune  trained as lora, merged as W + s M·(B A): what lay outside the mask is lost
//   mask_lora   W + s M·(B A)     merges exactly
//   scale_lora  W·(B A)           by elements, merges exactly; B A begins as ones
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {

enum class LowRankForm { kLora, kLoraPrune, kMaskLora, kScaleLora };

LowRankForm low_rank_form(const std::string& where, const std::string& name);  // UserError naming `where`
std::string name_of(LowRankForm form);

struct LowRank {
  LowRankForm form = LowRankForm::kMaskLora;
  at::Tensor base, keep;  // [out, in]; keep bool, undefined: all
  at::Tensor a, b;        // leaves
  double scale = 1;       // s
};

// Leaves with gradients: A from a uniform distribution of deviation 1 / sqrt(3 in) (Kaiming's, as in the LoRA paper's code),
// B zero; of scale_lora both filled with 1 / sqrt(rank). A rank above min(out, in) is reduced to it.
LowRank make_low_rank(LowRankForm form, const at::Tensor& base, const at::Tensor& keep, int64_t rank, double alpha, Rng rng);

double scale_lora_start(int64_t rank);  // 1 / sqrt(rank)

at::Tensor trained_weight(const LowRank& adapter);  // what a forward multiplies by, with gradients to a and b
at::Tensor merged_weight(const LowRank& adapter);   // what is stored at the end; zeros outside the mask, except of lora

}  // namespace espalier
