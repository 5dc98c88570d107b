#include <fmt/ranges.h>

#include "espalier/requests/recipe_fields.h"

namespace espalier {

TrainRequest read_train_recipe(const std::filesystem::path& path) {
  const Json root = read_yaml(path);
  const auto where = path.string();
  std::vector<std::string> known = {"model", "fresh", "data", "eval", "methods", "training", "masks", "teacher", "control", "dense", "set"};
  known.insert(known.end(), kCommonKeys.begin(), kCommonKeys.end());
  const RecipeFields fields(root, where, known);
  TrainRequest request;
  request.recipe = where;
  fields.text("model", request.model);
  fields.flag("fresh", request.fresh);
  fields.text("data", request.data);
  fields.text("eval", request.eval_data);
  fields.text("masks", request.masks);
  fields.text("teacher", request.teacher);
  fields.word("control", kControls, request.control);
  fields.text("dense", request.dense);
  if (const Json* options = fields.find("set")) {
    if (request.control.empty()) user_error("{}: without a control there is nothing that it sets; options of methods go into methods[…].set", fields.place("set"));
    request.control_options = read_settings(*options, where, "set");
  }
  read_common(fields, where, request.common);
  if (const Json* training = fields.find("training")) request.training = read_settings(*training, where, "training");
  if (const Json* methods = fields.find("methods")) {
    if (!methods->is_array()) throw UserError(where, "methods", "a list", describe(*methods));
    for (size_t i = 0; i < methods->size(); ++i)
      request.methods.push_back(read_step((*methods)[i], fmt::format("{}: methods[{}]", where, i)));
  }
  return request;
}

Json recipe_of(const TrainRequest& request) {
  Json recipe = {{"model", request.model}, {"fresh", request.fresh}, {"data", request.data}};
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) recipe[key] = value;
  };
  put("eval", request.eval_data);
  put("masks", request.masks);
  put("teacher", request.teacher);
  put("control", request.control);
  put("dense", request.dense);
  if (!request.control_options.empty()) recipe["set"] = request.control_options;
  const auto& common = request.common;
  recipe.update({{"seed", common.seed}, {"threads", common.threads}, {"device", common.device}, {"dtype", common.dtype}});
  for (const auto& [name, shape] : common.input_shapes) recipe["input_shapes"][name] = fmt::format("{}", fmt::join(shape, "x"));
  recipe["training"] = request.training;
  Json methods = Json::array();
  for (const auto& step : request.methods) {
    Json entry = {{"method", step.method}};
    if (step.sparsity) entry["sparsity"] = *step.sparsity;
    if (!step.options.empty()) entry["set"] = step.options;
    methods.push_back(entry);
  }
  if (!methods.empty()) recipe["methods"] = methods;
  return recipe;
}

}  // namespace espalier
