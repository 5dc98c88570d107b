#include "espalier/families/family.h"

#include <algorithm>
#include <map>

#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

std::vector<Family>& registry() {
  static std::vector<Family> list;
  return list;
}

DType main_dtype(const Graph& graph) {
  std::map<DType, int64_t> counts;
  for (const auto& parameter : graph.parameters()) counts[parameter->dtype()] += parameter->count();
  return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

int64_t context_length(const Json& config, const std::string& where) {
  for (const char* key : {"max_position_embeddings", "n_positions", "n_ctx"})
    if (config.contains(key)) return json_int(config, key, where, 1, INT32_MAX);
  return 2048;
}

}  // namespace

RegisterFamily::RegisterFamily(Family family) { registry().push_back(std::move(family)); }

std::vector<const Family*> families() {
  std::vector<const Family*> list;
  for (const auto& family : registry()) list.push_back(&family);
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->name < b->name; });
  return list;
}

const Family& find_family(const std::string& model_type, const std::string& where) {
  std::vector<std::string> known;
  for (const auto* family : families()) {
    for (const auto& type : family->model_types) {
      if (type == model_type) return *family;
      known.push_back(type);
    }
  }
  throw UserError(where, "model_type", fmt::format("one of {}", fmt::join(known, ", ")),
                  fmt::format("'{}'{}", printable(model_type), did_you_mean(model_type, known)));
}

Model load_model(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path))
    user_error("{}: {}", path.string(),
               std::filesystem::exists(path) ? "expected a model directory with config.json" : "there is no such model directory");
  const auto config_path = path / "config.json";
  if (!std::filesystem::exists(config_path)) user_error("{}: the directory has no config.json", path.string());
  const std::string where = config_path.string();
  Model model;
  model.path = path;
  model.config = read_json(config_path);
  if (!model.config.is_object()) throw UserError(where, "top level", "an object", describe(model.config));
  if (model.config.contains("auto_map")) warn("{}: auto_map names code of the model's author; espalier ignores it", where);
  model.family = &find_family(json_string(model.config, "model_type", where), where);
  model.checkpoint = Checkpoint::open(path);
  model.graph = model.family->build(model.config, *model.checkpoint, where);
  model.context_length = context_length(model.config, where);
  model.vocab_size = json_int(model.config, "vocab_size", where, 1, INT32_MAX);
  model.dtype = main_dtype(model.graph);
  return model;
}

}  // namespace espalier
