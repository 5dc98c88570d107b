// Masks that move while a network trains: the smallest weights of a layer die and as many grow elsewhere (RigL, SET,
// GraNet).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace espalier {

struct Swap {
  at::Tensor died, grown;  // bool; a place may be in both
  int64_t count = 0;       // how many died and grew
};

// ceil(rate · alive - 1e-9) of the layer's alive weights die, the smallest |w|; then as many of all that are dead now, those
// that just died included, grow where `growth` is highest. Lower position first among equals. The mask changes in place,
// its count of alive weights does not. What grew starts at 0: the caller clears weights and momenta of both.
// UserError naming `where`: a weight or growth score that is NaN.
Swap swap_weights(const at::Tensor& weight, const at::Tensor& mask, const at::Tensor& growth, double rate, const std::string& where);

}  // namespace espalier
