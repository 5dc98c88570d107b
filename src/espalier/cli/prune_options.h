// The options that `prune` and `plan` share: what to remove, from which model, on which data.
#pragma once

#include <string>
#include <vector>

#include "espalier/cli/options.h"

namespace espalier {

class PruneOptions {
 public:
  PruneRequest request;

  void declare(CLI::App& app);
  // Reads the recipe, if one was named, into the request: true asks for a second parse. Else makes the one step.
  bool complete(const CLI::App& app);
  // Model and data exist: said before the laboratory is loaded. UserError.
  void check_inputs() const;

 private:
  StepRequest step_;
  std::vector<std::string> settings_;
};

}  // namespace espalier
