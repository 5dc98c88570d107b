// espalier reproduce [ID…|all]
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

class ReproduceVerb : public Verb {
 public:
  ReproduceVerb()
      : Verb("reproduce", "run a paper's claim at small scale: what it says, what was measured here, the verdict",
             "espalier reproduce all") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    app.add_option("ID", request_.ids, "systems to reproduce; none or `all`: every one that can be")
        ->type_name("METHOD");
    add_text(app, "-o,--out", request_.out, "DIR", "keep tables and runs there");
    app.add_flag("--force", request_.force, "replace an existing result");
    app.add_flag("--resume", request_.resume, "go on with the run that was cut short");
  }

  bool complete(CLI::App&) override {
    if (request_.ids == std::vector<std::string>{"all"}) request_.ids.clear();
    if (request_.resume && request_.out.empty()) user_error("--resume: needs --out, where the run was kept");
    return false;
  }

  Json run() override { return lab().reproduce(request_); }
  std::string text(const Json& result) override { return describe_object(result); }

 private:
  ReproduceRequest request_;
};

ReproduceVerb reproduce_verb;

}  // namespace
}  // namespace espalier
