// Windows of a text's tokens in an order of its own for every epoch, shifted by a random offset.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {

class TextBatches {
 public:
  // Windows of `length` + 1 tokens, so that each token has its next. UserError: fewer than two windows.
  TextBatches(std::vector<int32_t> tokens, int64_t length, int64_t batch, uint64_t seed);

  int64_t batches_an_epoch() const;
  int64_t largest_id() const;
  // int64 [batch, length + 1]. Depends on seed, index and order alone; reading forward is cheap.
  at::Tensor at(int64_t index, uint64_t order = 0);

 private:
  void restart(uint64_t order);
  std::vector<int64_t> take();  // where the next batch's windows begin

  std::vector<int32_t> tokens_;
  int64_t length_, batch_, given_ = 0;
  uint64_t seed_, order_number_ = 0;
  Rng rng_;
  std::vector<int64_t> order_;
};

}  // namespace espalier
