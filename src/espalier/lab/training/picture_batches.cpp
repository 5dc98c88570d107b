#include "espalier/lab/training/picture_batches.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/thread_pool.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr double kMostKeptBytes = 1e9;

std::vector<int64_t> all_or(std::span<const int64_t> indices, const ImageDataset& dataset) {
  if (!indices.empty()) return {indices.begin(), indices.end()};
  std::vector<int64_t> all(static_cast<size_t>(dataset.size()));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

}  // namespace

PictureBatches::PictureBatches(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input,
                               int64_t batch, PictureAugmentation augmentation, uint64_t seed)
    : dataset_(dataset),
      input_(input),
      indices_(all_or(indices, dataset)),
      batch_(std::min(batch, count())),
      augmentation_(augmentation),
      seed_(seed),
      order_rng_(seed, "training/order"),
      augment_rng_(seed, "training/augment") {
  if (batch < 1) throw UserError("training", "batch", "at least 1", fmt::format("{}", batch));
  const at::Tensor one = image_bytes(dataset, std::span(indices_).first(1), input);
  if (static_cast<double>(one.numel()) * static_cast<double>(count()) <= kMostKeptBytes)
    kept_ = image_bytes(dataset, indices_, input);
}

int64_t PictureBatches::largest_label() const {
  int64_t largest = 0;
  for (int64_t index : indices_) largest = std::max(largest, dataset_.label(index));
  return largest;
}

at::Tensor PictureBatches::bytes_of(std::span<const int64_t> positions) const {
  if (kept_.defined())
    return kept_.index_select(0, at::tensor(std::vector<int64_t>(positions.begin(), positions.end())));
  std::vector<int64_t> chosen;
  for (int64_t position : positions) chosen.push_back(indices_[static_cast<size_t>(position)]);
  return image_bytes(dataset_, chosen, input_);
}

// One plane; what moves in from outside is black.
void PictureBatches::change_plane(const uint8_t* from, uint8_t* to, int64_t height, int64_t width,
                                  const Change& change) {
  std::memset(to, 0, static_cast<size_t>(height * width));
  const int64_t first = std::max<int64_t>(0, change.right), last = std::min(width, width + change.right);
  for (int64_t y = std::max<int64_t>(0, change.down); y < std::min(height, height + change.down); ++y) {
    const uint8_t* row = from + (y - change.down) * width - change.right;
    if (change.mirror) {
      for (int64_t x = first; x < last; ++x) to[y * width + width - 1 - x] = row[x];
    } else if (first < last) {
      std::memcpy(to + y * width + first, row + first, static_cast<size_t>(last - first));
    }
  }
}

std::vector<PictureBatches::Change> PictureBatches::draw() {
  if (!augmentation_.on) return {};
  std::vector<Change> changes;
  const auto shifts = static_cast<uint64_t>(2 * augmentation_.shift + 1);
  for (int64_t i = 0; i < batch_; ++i) {
    const auto down = static_cast<int64_t>(augment_rng_.below(shifts)) - augmentation_.shift;
    const auto right = static_cast<int64_t>(augment_rng_.below(shifts)) - augmentation_.shift;
    changes.push_back({down, right, augment_rng_.below(2) == 1});
  }
  return changes;
}

at::Tensor PictureBatches::augmented(const at::Tensor& bytes, const std::vector<Change>& changes) const {
  at::Tensor result = at::empty_like(bytes);
  const int64_t height = bytes.size(2), width = bytes.size(3), plane = height * width;
  const auto* from = bytes.data_ptr<uint8_t>();
  auto* to = result.data_ptr<uint8_t>();
  parallel_for(0, bytes.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t p = i * bytes.size(1); p < (i + 1) * bytes.size(1); ++p)
        change_plane(from + p * plane, to + p * plane, height, width, changes[static_cast<size_t>(i)]);
  });
  return result;
}

std::span<const int64_t> PictureBatches::take() {
  if (at_ + static_cast<size_t>(batch_) > order_.size()) {
    order_.resize(indices_.size());
    std::iota(order_.begin(), order_.end(), int64_t{0});
    order_rng_.shuffle(order_);
    at_ = 0;
  }
  const auto positions = std::span<const int64_t>(order_).subspan(at_, static_cast<size_t>(batch_));
  at_ += positions.size();
  ++given_;
  return positions;
}

LabelledImages PictureBatches::next() {
  const auto positions = take();
  const auto changes = draw();
  at::Tensor bytes = bytes_of(positions);
  if (augmentation_.on) bytes = augmented(bytes, changes);
  std::vector<int64_t> chosen;
  for (int64_t position : positions) chosen.push_back(indices_[static_cast<size_t>(position)]);
  return {normalised(bytes, input_), image_labels(dataset_, chosen)};
}

void PictureBatches::restart(uint64_t order) {
  const std::string suffix = order == 0 ? "" : fmt::format("/{}", order);
  order_rng_ = Rng(seed_, "training/order" + suffix);
  augment_rng_ = Rng(seed_, "training/augment" + suffix);
  data_order_ = order;
  order_.clear();
  at_ = 0;
  given_ = 0;
}

LabelledImages PictureBatches::at(int64_t index, uint64_t order) {
  if (order != data_order_ || index < given_) restart(order);
  while (given_ < index) {
    take();
    draw();
  }
  return next();
}

}  // namespace espalier
