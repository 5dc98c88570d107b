// espalier models: what is embedded, and what can be read.
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/families/family.h"

namespace espalier {
namespace {

Json describe_model(const std::string& name) {
  const auto path = resolve_model(name);
  Json row = {{"name", name}, {"path", path.string()}};
  try {
    const Model model = load_model(path);
    row.update({{"family", model.family_name()},
                {"params", model.graph.parameter_count()},
                {"bytes", model.graph.parameter_bytes()},
                {"context", model.context_length}});
  } catch (const UserError& error) {
    warn("{}", error.what());
  }
  return row;
}

class ModelsVerb : public Verb {
 public:
  ModelsVerb() : Verb("models", "embedded models and data, and the families that can be read", "espalier models") {}

 protected:
  void declare(CLI::App&) override {}

  Json run() override {
    Json result = {{"models", Json::array()}, {"data", embedded_data()}, {"families", Json::array()}};
    for (const auto& name : embedded_models()) result["models"].push_back(describe_model(name));
    for (const Family* family : families())
      result["families"].push_back({{"name", family->name}, {"model_types", family->model_types}});
    return result;
  }

  std::string text(const Json& result) override {
    std::string text = "Embedded models:\n";
    Table models({"  name", "family", "parameters", "bytes", "context"});
    for (const Json& row : result["models"])
      models.add({"  " + shown(row["name"]), shown(row.value("family", Json())), human_count(row.value("params", 0.0)),
                  human_bytes(row.value("bytes", uint64_t{0})), shown(row.value("context", Json()))});
    text += result["models"].empty() ? "  none\n" : models.str();
    text += fmt::format("Embedded data: {}\n", shown(result["data"]));
    text += "Families that can be read, by the model_type of config.json:\n";
    for (const Json& family : result["families"])
      text += fmt::format("  {}: {}\n", shown(family["name"]), shown(family["model_types"]));
    return text;
  }
};

ModelsVerb models_verb;

}  // namespace
}  // namespace espalier
