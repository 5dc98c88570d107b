// espalier plan MODEL --method ID --sparsity S: what prune would remove, need and take, without doing it.
#include "espalier/cli/lab.h"
#include "espalier/cli/prune_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"

namespace espalier {
namespace {

class PlanVerb : public Verb {
 public:
  PlanVerb()
      : Verb("plan", "what a pruning would remove, and the memory, disk and time it needs; writes nothing",
             "espalier plan {model} --method wanda --sparsity 0.5") {
    use_common(options_.request.common);
  }

 protected:
  void declare(CLI::App& app) override { options_.declare(app); }
  bool complete(CLI::App& app) override { return options_.complete(app); }
  std::string text(const Json& result) override { return describe_object(result); }

  Json run() override {
    options_.check_inputs();
    options_.request.dry_run = true;
    return lab().plan(options_.request);
  }

 private:
  PruneOptions options_;
};

PlanVerb plan_verb;

}  // namespace
}  // namespace espalier
