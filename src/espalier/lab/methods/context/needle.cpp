// Needles in a text as a study: a table of depth by length, and a heat map.
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/engine/language_eval.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/report/heat_map.h"
#include "espalier/requests/policy_text.h"

namespace espalier::needle_study {
namespace {

constexpr int64_t kMost = int64_t{1} << 30;

Json run(StudyJob& job) {
  EvalRequest request;
  request.common.seed = job.seed();
  request.model = job.model().path.string(), request.data = job.data(), request.metric = "needle";
  request.engine = policy_from_text(job.text("policy"), "study needle: policy");
  request.needles = job.integer("needles", 1, 26), request.depths = job.integer("depths", 1, 1000);
  request.limit = job.integer("texts", 1, kMost), request.length = job.integer("length", 0, kMost);
  const Json found = evaluate_language(request);
  Json rows = Json::array();
  for (const Json& cell : found.at("cells")) rows.push_back({cell.at("length"), cell.at("depth"), cell.at("trials"), cell.at("exact"), cell.at("token_accuracy")});
  const std::string policy = found.at("policy").get<std::string>();
  write_file_atomically(job.out() / "needle.svg", heat_map_svg(needle_heat_map(found.at("cells"), policy)));
  return {{"tables", {{"needles", {{"columns", {"length", "depth", "trials", "exact", "token_accuracy"}}, {"rows", rows}}}}},
          {"figures", {"needle.svg"}},
          {"files", {"needle.svg"}},
          {"summary", fmt::format("{}: {:.1f} % of {} needles found (95 % interval {:.1f} to {:.1f})", policy, 100 * found.at("value").get<double>(), found.at("trials").get<int64_t>(),
                                  100 * found.at("ci95")[0].get<double>(), 100 * found.at("ci95")[1].get<double>())}};
}

const RegisterStudy registered({"needle",
                                "which numbers hidden in a text the model gives back, by depth and length, under any attention policy",
                                {{"policy", "text", "dense", "ID:name=value:…", "attention policy with its options"},
                                 {"needles", "int", "1", "1 … 26", "numbers hidden in a text"},
                                 {"depths", "int", "5", "1 … 1000", "depths"},
                                 {"texts", "int", "4", "1 …", "texts a depth and length"},
                                 {"length", "int", "0", "0 … context", "tokens of a text; 0: 256, 512, … up to the context"}},
                                run});

}  // namespace
}  // namespace espalier::needle_study
