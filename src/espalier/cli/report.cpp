// espalier report RUN… -o report.html
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

class ReportVerb : public Verb {
 public:
  ReportVerb() : Verb("report", "curves of trainings as one HTML file", "espalier report trained -o report.html") {}

 protected:
  void declare(CLI::App& app) override {
    app.add_option("RUN", request_.runs, "results of train, or ids of `espalier runs list`");
    add_text(app, "-o,--out", request_.out, "FILE", "the HTML file");
    app.add_flag("--force", request_.force, "replace an existing file");
  }

  bool complete(CLI::App&) override {
    if (request_.runs.empty()) user_error("RUN: missing; `espalier runs list` names those there are");
    if (request_.out.empty()) user_error("--out: missing: where shall the report go?");
    return false;
  }

  Json run() override { return lab().report(request_); }
  std::string text(const Json& result) override { return fmt::format("written to {}\n", shown(result.at("out"))); }

 private:
  ReportRequest request_;
};

ReportVerb report_verb;

}  // namespace
}  // namespace espalier
