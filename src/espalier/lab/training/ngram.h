// An interpolated byte n-gram model: what a language model has to beat.
#pragma once

#include <string_view>

namespace espalier {

// Trains on `train` and returns the bits per byte of `test`: orders 0 to `order`-1 of context, Witten–Bell
// interpolation (Bell, Cleary & Witten 1990), uniform over 256 bytes below.
double ngram_bits_per_byte(std::string_view train, std::string_view test, int order);

}  // namespace espalier
