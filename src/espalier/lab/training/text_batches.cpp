#include "espalier/lab/training/text_batches.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

TextBatches::TextBatches(std::vector<int32_t> tokens, int64_t length, int64_t batch, uint64_t seed)
    : tokens_(std::move(tokens)), length_(length), batch_(batch), seed_(seed), rng_(seed, "training/windows") {
  if (static_cast<int64_t>(tokens_.size()) < 2 * (length + 1))
    user_error("training text: {} tokens, fewer than two windows of {}", tokens_.size(), length + 1);
}

int64_t TextBatches::batches_an_epoch() const {
  return std::max<int64_t>(1, (static_cast<int64_t>(tokens_.size()) - 1) / length_ / batch_);
}

int64_t TextBatches::largest_id() const { return *std::max_element(tokens_.begin(), tokens_.end()); }

void TextBatches::restart(uint64_t order) {
  rng_ = Rng(seed_, order == 0 ? "training/windows" : fmt::format("training/windows/{}", order));
  order_number_ = order;
  order_.clear();
  given_ = 0;
}

std::vector<int64_t> TextBatches::take() {
  std::vector<int64_t> begins;
  while (static_cast<int64_t>(begins.size()) < batch_) {
    if (order_.empty()) {
      const auto offset = static_cast<int64_t>(rng_.below(static_cast<uint64_t>(length_)));
      for (int64_t at = offset; at + length_ + 1 <= static_cast<int64_t>(tokens_.size()); at += length_) order_.push_back(at);
      rng_.shuffle(order_);
    }
    begins.push_back(order_.back());
    order_.pop_back();
  }
  ++given_;
  return begins;
}

at::Tensor TextBatches::at(int64_t index, uint64_t order) {
  if (order != order_number_ || index < given_) restart(order);
  while (given_ < index) take();
  at::Tensor ids = at::empty({batch_, length_ + 1}, at::kLong);
  auto* to = ids.data_ptr<int64_t>();
  for (int64_t begin : take())
    for (int64_t i = 0; i <= length_; ++i) *to++ = tokens_[static_cast<size_t>(begin + i)];
  return ids;
}

}  // namespace espalier
