// The options of verbs that run a language model on the engine.
#pragma once

#include "espalier/cli/options.h"
#include "espalier/requests/requests.h"

namespace espalier {

class EngineOptions {
 public:
  void declare(CLI::App& app);
  // After parsing; UserError on options without a policy.
  EngineRequest request() const;

 private:
  EngineRequest request_;
  std::vector<std::string> settings_;
};

}  // namespace espalier
