// Batches of pictures in an order of its own for every epoch, shifted and mirrored at random.
#pragma once

#include <span>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/lab/measure/images.h"

namespace espalier {

struct PictureAugmentation {
  bool on = false;
  int64_t shift = 4;
};

class PictureBatches {
 public:
  // indices: empty for all pictures. Small data sets are decoded once and kept as bytes.
  PictureBatches(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input, int64_t batch,
                 PictureAugmentation augmentation, uint64_t seed);

  int64_t batch() const { return batch_; }  // at most the number of pictures
  int64_t batches_an_epoch() const { return count() / batch_; }
  int64_t largest_label() const;
  LabelledImages next();
  // The batch of this number, counted from the first: what next() would give. Another order: another shuffling and other
  // augmentation; 0 is next()'s.
  LabelledImages at(int64_t index, uint64_t order = 0);

 private:
  struct Change {
    int64_t down, right;  // the picture moves so many pixels
    bool mirror;
  };
  void restart(uint64_t order);
  std::span<const int64_t> take();  // positions of the next batch
  std::vector<Change> draw();       // for one batch; empty without augmentation
  int64_t count() const { return static_cast<int64_t>(indices_.size()); }
  at::Tensor bytes_of(std::span<const int64_t> positions) const;
  at::Tensor augmented(const at::Tensor& bytes, const std::vector<Change>& changes) const;
  static void change_plane(const uint8_t* from, uint8_t* to, int64_t height, int64_t width, const Change& change);

  const ImageDataset& dataset_;
  const ImageInput& input_;
  std::vector<int64_t> indices_, order_;  // order_: positions in indices_
  int64_t batch_;
  size_t at_ = 0;
  int64_t given_ = 0;  // batches
  PictureAugmentation augmentation_;
  uint64_t seed_, data_order_ = 0;
  Rng order_rng_, augment_rng_;
  at::Tensor kept_;  // uint8 [count, c, h, w]; undefined when that would be too large
};

}  // namespace espalier
