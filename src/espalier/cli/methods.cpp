// espalier methods [ID]
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"

namespace espalier {
namespace {

class MethodsVerb : public Verb {
 public:
  MethodsVerb() : Verb("methods", "the catalogue of methods, or one of them in full", "espalier methods") {}

 protected:
  void declare(CLI::App& app) override {
    add_text(app, "ID", request_.id, "METHOD", "this one in full");
    add_choice(app, "--kind", request_.kind, {"OneShot", "Plugin", "AttentionPolicy", "TokenSelector", "Study"},
               "only this kind");
    add_text(app, "--family", request_.family, "FAMILY", "only those for this model family");
  }

  Json run() override { return lab().methods(request_); }

  std::string text(const Json& result) override {
    if (!result.is_array()) return describe_object(result);
    Table table({"id", "name", "year", "kind", "units", "needs", "status"});
    for (const Json& method : result) {
      std::vector<std::string> row;
      for (const char* key : {"id", "name", "year", "kind", "units", "needs", "status"})
        row.push_back(shown(method.value(key, Json())));
      table.add(std::move(row));
    }
    return table.str();
  }

 private:
  MethodsRequest request_;
};

MethodsVerb methods_verb;

}  // namespace
}  // namespace espalier
