// Pictures in the size and the colours that a model wants, the way the Python imaging library does it, which is how
// published classifiers were trained and measured.
#pragma once

#include "espalier/io/images/picture.h"

namespace espalier {

// 1 to 3 channels: the grey value thrice. 3 to 1: luma (299 R + 587 G + 114 B) / 1000 in 16-bit fixed point.
Picture with_channels(Picture picture, int64_t channels);

// Bilinear; when it shrinks, the filter is as wide as what one pixel covers (no aliasing). Rows first, then columns, in
// fixed point with 22 bits, rounded to bytes after each pass. Sizes at least 1.
Picture resize(const Picture& picture, int64_t height, int64_t width);

// The shorter side becomes `length`, the longer one keeps the proportion (rounded down).
Picture resize_shorter_side(const Picture& picture, int64_t length);

// From the middle, offsets rounded half to even. The picture must be at least as large.
Picture centre_crop(const Picture& picture, int64_t height, int64_t width);

}  // namespace espalier
