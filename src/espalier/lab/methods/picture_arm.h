// Arms of reproductions on pictures: a fresh copy of an embedded classifier, pruned and measured on held-out pictures.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "espalier/io/image_dataset.h"
#include "espalier/lab/methods/reproduce.h"

namespace espalier {

struct PictureArmRequest {
  std::string method;
  double sparsity = 0;
  std::string of = "";  // empty: the method's default
  std::map<std::string, std::string> options = {};
  uint64_t seed = 0;
  int64_t align = 8;
  bool calibrate = true;       // give the method the training pictures
  int64_t samples = 128;
  std::shared_ptr<const ImageDataset> train = nullptr;  // instead of the embedded training pictures
  std::map<std::string, std::string> fine_tune = {};    // options of the repair "finetune" that follows; empty: none
};

struct PictureArm {
  double top1 = 0, macro_f1 = 0;
  Size size;
  double reached = 0;
  Json findings;
};

// UserError when the embedded model or its pictures are missing.
PictureArm picture_arm(const ReproduceContext& context, const std::filesystem::path& model, const PictureArmRequest& request);
double dense_accuracy(const ReproduceContext& context, const std::filesystem::path& model);

}  // namespace espalier
