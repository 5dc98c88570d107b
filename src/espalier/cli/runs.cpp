// espalier runs list|show|diff
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

class RunsVerb : public Verb {
 public:
  RunsVerb() : Verb("runs", "what was trained, with which settings, and how it went", "espalier runs list") {}

 protected:
  void declare(CLI::App& app) override {
    add_choice(app, "ACTION", request_.action, {"list", "show", "diff"}, "list the newest; show one; the difference of two");
    app.add_option("RUN", request_.runs, "ids, or paths of results")->expected(0, 2);
    add_integer(app, "--limit", request_.limit, 1, 1'000'000, "runs to list");
  }

  bool complete(CLI::App&) override {
    const size_t wanted = request_.action == "list" ? 0 : request_.action == "show" ? 1 : 2;
    if (request_.runs.size() != wanted)
      throw UserError("runs " + request_.action, "runs", fmt::format("{}", wanted), fmt::format("{}", request_.runs.size()));
    return false;
  }

  Json run() override { return lab().runs(request_); }
  std::string text(const Json& result) override;

 private:
  RunsRequest request_;
};

std::string listed(const Json& runs) {
  if (runs.empty()) return "no runs yet\n";
  Table table({"id", "started", "status", "method", "model", "last", "result"});
  for (const Json& row : runs) {
    std::string last;
    for (const char* name : {"accuracy", "perplexity", "masked_perplexity", "loss"})
      if (last.empty() && row.at("last").contains(name)) last = fmt::format("{} {:.5g}", name, row["last"][name].get<double>());
    table.add({shown(row["id"]), shown(row["started"]), shown(row["status"]), shown(row["method"]), shown(row["model"]), last, shown(row["out"])});
  }
  return table.str();
}

std::string compared(const Json& rows, const Json& runs) {
  Table table({"", fmt::format("run {}", shown(runs[0])), fmt::format("run {}", shown(runs[1]))});
  for (const Json& row : rows) table.add({shown(row["name"]), shown(row["first"]), shown(row["second"])});
  return table.str();
}

std::string RunsVerb::text(const Json& result) {
  if (request_.action == "list") return listed(result.at("runs"));
  if (request_.action == "diff") return compared(result.at("settings"), result.at("runs")) + compared(result.at("metrics"), result.at("runs"));
  Json brief = result;
  brief.erase("metrics");
  std::string text = describe_object(brief);
  Table table({"step", "metric", "value"});
  for (const Json& metric : result.at("metrics")) table.add({shown(metric[0]), shown(metric[1]), shown(metric[2])});
  return text + table.str();
}

RunsVerb runs_verb;

}  // namespace
}  // namespace espalier
