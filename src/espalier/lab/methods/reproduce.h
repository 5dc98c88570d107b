// Small-scale reproductions: a system's claim, measured on the embedded model against its named baseline.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "espalier/families/family.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/methods/method.h"

namespace espalier {

struct ReproduceContext {
  std::filesystem::path model_path, calibration, evaluation;  // the embedded ones
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t evaluation_tokens = 16384;
  uint64_t seed = 0;
  // The embedded classifier of pictures with its pictures to calibrate and train on and to measure on, and the embedded
  // vision transformer that reads the same.
  std::filesystem::path vision_model, vision_transformer, vision_train, vision_test;

  // One arm: a fresh copy of the model pruned by `method` at `sparsity` and measured on the evaluation text.
  struct Arm {
    Quality quality;
    int64_t params = 0;
    double reached = 0;
    Json findings;
  };
  Arm run(const std::string& method, double sparsity, const std::map<std::string, std::string>& options = {},
          uint64_t seed = 0, const std::string& pattern = "") const;
  // Mean perplexity of several seeds 0 … n-1.
  double mean_perplexity(const std::string& method, double sparsity, const std::map<std::string, std::string>& options, int seeds) const;
  Quality dense() const;
};

// The embedded models and data. UserError when they are missing.
ReproduceContext embedded_context(uint64_t seed);

}  // namespace espalier
