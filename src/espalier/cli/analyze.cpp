// espalier analyze STUDY MODEL -o OUT
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

class AnalyzeVerb : public Verb {
 public:
  AnalyzeVerb()
      : Verb("analyze", "a study of a model: tables and files", "espalier analyze duo-gates {model} --set steps=2 -o gates") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    app.add_option("STUDY", request_.study, "16-rethinking-value, duo-gates, needle, plasticity, pq-index, retrieval-head, scaling-law")->required()->type_name("STUDY");
    add_model(app, request_.model)->required();
    add_text(app, "--data", request_.data, "DATA", "text or pictures, as the study reads; by default an embedded sample");
    add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the study (repeatable)");
    add_text(app, "-o,--out", request_.out, "DIR", "where study.json and the study's files go")->required();
    app.add_flag("--force", request_.force, "replace an existing result");
  }

  bool complete(CLI::App&) override {
    request_.options = parse_settings(settings_);
    return false;
  }

  Json run() override {
    resolve_model(request_.model);
    if (!request_.data.empty()) resolve_data(request_.data);
    return lab().analyze(request_);
  }
  std::string text(const Json& result) override {
    return fmt::format("{}\nwritten to {}\n", shown(result.value("summary", Json())), shown(result.value("out", Json())));
  }

 private:
  AnalyzeRequest request_;
  std::vector<std::string> settings_;
};

AnalyzeVerb analyze_verb;

}  // namespace
}  // namespace espalier
