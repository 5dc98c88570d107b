#include "espalier/cli/engine_options.h"

#include "espalier/core/error.h"

namespace espalier {

void EngineOptions::declare(CLI::App& app) {
  add_text(app, "--policy", request_.policy, "METHOD", "attention policy; by default dense");
  add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the policy (repeatable)");
  add_choice(app, "--cache", request_.cache, {"fp32", "bf16", "int8"}, "how keys and values are stored");
  add_integer(app, "--int8-group", request_.int8_group, 0, 128, "with --dtype int8: columns that share a scale (32, 64, 128); 0: a row");
}

EngineRequest EngineOptions::request() const {
  EngineRequest request = request_;
  request.options = parse_settings(settings_);
  if (!request.options.empty() && request.policy.empty()) user_error("--set: options belong to a policy; name it with --policy");
  return request;
}

}  // namespace espalier
