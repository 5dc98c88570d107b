// espalier prune MODEL --method ID --sparsity S -o OUT
#include "espalier/cli/lab.h"
#include "espalier/cli/prune_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"

namespace espalier {
namespace {

class PruneVerb : public Verb {
 public:
  PruneVerb()
      : Verb("prune", "remove what a model does not need, repair the rest, write the result",
             "espalier prune {model} --method wanda --sparsity 0.5 -o pruned") {
    use_common(options_.request.common);
  }

 protected:
  void declare(CLI::App& app) override {
    auto& request = options_.request;
    options_.declare(app);
    add_text(app, "-o,--out", request.out, "OUT", "directory of the result, or an .onnx file");
    app.add_flag("--force", request.force, "replace an existing result");
    app.add_flag("--resume", request.resume, "go on with the run that was cut short");
    app.add_flag("--dry-run", request.dry_run, "say what would be done and cost, as `espalier plan` does");
  }

  bool complete(CLI::App& app) override { return options_.complete(app); }

  Json run() override {
    const auto& request = options_.request;
    if (request.out.empty() && !request.dry_run) user_error("--out: missing: where shall the result go?");
    options_.check_inputs();
    return request.dry_run ? lab().plan(request) : lab().prune(request);
  }

  std::string text(const Json& result) override;

 private:
  PruneOptions options_;
};

std::string budget_line(const Json& result) {
  if (!result.contains("sparsity")) return "";
  const Json& budget = result["sparsity"];
  return fmt::format("{}: asked {} of {}, reached {}\n", shown(result.value("method", Json())),
                     shown(budget.value("asked", Json())), shown(budget.value("of", Json())),
                     shown(budget.value("reached", Json())));
}

std::string before_and_after(const Json& before, const Json& after) {
  Table table({"", "before", "after", "change"});
  for (const auto& [key, value] : before.items()) {
    if (!value.is_number() || !after.contains(key) || !after[key].is_number()) continue;
    const double was = value.get<double>(), is = after[key].get<double>();
    const bool bytes = key == "bytes";
    const bool whole = value.is_number_integer();
    const auto human = [&](double x) {
      return bytes ? human_bytes(static_cast<uint64_t>(x)) : whole ? human_count(x) : fmt::format("{:.5g}", x);
    };
    table.add({key, human(was), human(is), change(was, is)});
  }
  return table.str();
}

std::string PruneVerb::text(const Json& result) {
  if (!result.contains("before") || !result.contains("after")) return describe_object(result);
  std::string text = budget_line(result) + before_and_after(result["before"], result["after"]);
  if (result.contains("seconds"))
    text += fmt::format("in {}, peak memory {}\n", format_duration(result["seconds"].get<double>()),
                        human_bytes(result.value("peak_rss_bytes", uint64_t{0})));
  if (result.contains("out")) text += fmt::format("written to {}\n", shown(result["out"]));
  return text;
}

PruneVerb prune_verb;

}  // namespace
}  // namespace espalier
