// A classifier of 6 x 6 colour pictures and eight pictures for it; tests/lab/data/make_classifier_reference.py has both
// too.
#pragma once

#include "espalier/families/image_input.h"
#include "espalier/io/image_dataset.h"
#include "tests/structure/test_networks.h"

namespace espalier::test {

// Pictures by formula.
class FormulaPictures : public ImageDataset {
 public:
  using Pixel = uint8_t (*)(int64_t picture, int64_t position);
  FormulaPictures(int64_t count, int64_t classes, int64_t side, int64_t channels, Pixel pixel)
      : ImageDataset("formula"), count_(count), side_(side), channels_(channels), pixel_(pixel) {
    classes_ = classes;
  }
  int64_t size() const override { return count_; }
  int64_t label(int64_t i) const override { return i % classes_; }
  Picture picture(int64_t i) const override {
    Picture picture{side_, side_, channels_, {}};
    for (int64_t p = 0; p < side_ * side_ * channels_; ++p) picture.pixels.push_back(pixel_(i, p));
    return picture;
  }
  std::vector<std::filesystem::path> files(int64_t) const override { return {}; }

 private:
  int64_t count_, side_, channels_;
  Pixel pixel_;
};

inline FormulaPictures eight_pictures() {
  return {8, 3, 6, 3,
          [](int64_t i, int64_t p) { return static_cast<uint8_t>((i * 61 + p * 29 + (p * p) % 17 * 7) % 256); }};
}

inline ImageInput small_input() {
  ImageInput input{.channels = 3, .height = 6, .width = 6};
  input.mean = {0.5, 0.4, 0.3};
  input.std = {0.2, 0.3, 0.4};
  return input;
}

inline std::string unbiased_conv(Network& n, const std::string& x, const std::string& name, Shape weight,
                                 int64_t stride) {
  n.param(name + ".w", std::move(weight));
  n.node("Conv", {x}, {name}, {{"weight", name + ".w"}},
         {{"strides", List{stride, stride}}, {"pads", List{1, 1, 1, 1}}});
  return name;
}

inline Graph small_classifier(int64_t channels = 3, int64_t side = 6) {
  Network n;
  n.input("x", {1, channels, side, side});
  const std::string a = n.activation(n.batch_norm(unbiased_conv(n, "x", "c1", {4, channels, 3, 3}, 1), 4), "relu");
  const std::string b = n.activation(n.batch_norm(unbiased_conv(n, a, "c2", {5, 4, 3, 3}, 2), 5), "relu");
  n.node("GlobalAveragePool", {b}, {"pooled"});
  n.node("Flatten", {"pooled"}, {"features"});
  n.output(n.linear("features", "fc", 3, 5));
  n.infer();
  return std::move(n.graph);
}

}  // namespace espalier::test
