// The laboratory's door: what the program calls after opening libespalier-lab.
#include "espalier/lab/api.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/system_id.h"
#include "espalier/engine/statistics.h"
#include "espalier/lab/compare.h"
#include "espalier/lab/compare_policies.h"
#include "espalier/lab/evaluate.h"
#include "espalier/lab/methods/plan.h"
#include "espalier/lab/methods/policy_reproduction.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/methods/train.h"
#include "espalier/lab/report/run_store.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// OpenBLAS keeps its own threads, which ATen does not count; other BLAS libraries have no such function.
void set_blas_threads(int threads) {
  using Set = void (*)(int);
  if (const auto set = reinterpret_cast<Set>(::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) set(threads);
}

void prepare(const CommonRequest& common) {
  if (common.device != "cpu") user_error("--device: this build has no {} back end; use cpu", common.device);
  if (common.dtype != "auto" && common.dtype != "fp32")
    user_error("--dtype: the laboratory computes in fp32; {} is for generate, bench, serve and eval --policy", common.dtype);
  at::set_num_threads(common.threads);
  set_blas_threads(common.threads);
}

bool wanted(const Json& entry, const MethodsRequest& request) {
  if (!request.kind.empty() && entry.at("kind") != request.kind) return false;
  if (request.family.empty()) return true;
  for (const auto& family : entry.at("families"))
    if (family == request.family || family == "any") return true;
  return false;
}

struct Reproducible {
  std::string id;
  Reproduction (*reproduce)(ReproduceContext&);
};

// Of these methods and policies; of all that have a reproduction where none is named.
std::vector<Reproducible> reproducible(const std::vector<std::string>& ids) {
  std::vector<Reproducible> all, chosen;
  std::vector<std::string> known;
  for (const auto* method : registered_methods())
    if (method->reproduce) all.push_back({method->id, method->reproduce});
  for (const auto* policy : registered_policy_reproductions()) all.push_back({policy->id, policy->reproduce});
  if (ids.empty()) return all;
  for (const Reproducible& one : all) known.push_back(one.id);
  for (const std::string& id : ids) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Reproducible& one) { return answers_to(one.id, id); });
    if (found == all.end())
      user_error("reproduce: '{}' has no reproduction{}; these have: {}", printable(id), did_you_mean(id, known), fmt::join(known, ", "));
    chosen.push_back(*found);
  }
  return chosen;
}

class Laboratory : public LabApi {
 public:
  Json methods(const MethodsRequest& request) override {
    if (!request.id.empty()) return catalogue_entry(request.id);
    Json list = Json::array();
    for (auto& entry : catalogue())
      if (wanted(entry, request)) list.push_back(std::move(entry));
    return list;
  }

  Json plan(const PlanRequest& request) override {
    prepare(request.common);
    return plan_prune(request);
  }

  Json prune(const PruneRequest& request) override {
    prepare(request.common);
    return run_prune(request);
  }

  Json eval(const EvalRequest& request) override {
    prepare(request.common);
    return run_eval(request);
  }

  Json compare(const CompareRequest& request) override {
    prepare(request.common);
    return run_compare(request);
  }

  Json compare_policies(const PolicyCompareRequest& request) override { return run_policy_compare(request); }

  Json reproduce(const ReproduceRequest& request) override {
    prepare(request.common);
    const std::vector<Reproducible> chosen = reproducible(request.ids);
    if (!request.out.empty() && std::filesystem::exists(request.out) && !request.force)
      user_error("{}: exists already; --force replaces it", request.out);
    ReproduceContext context = embedded_context(request.common.seed);
    Json results = Json::array();
    for (const auto& [id, reproduce] : chosen) {
      const auto start = std::chrono::steady_clock::now();
      const Reproduction found = reproduce(context);
      inform("{}: {}", id, found.ours);
      results.push_back({{"id", id}, {"claim", found.claim}, {"ours", found.ours}, {"verdict", found.shows ? "shows" : "does not show"},
                         {"measurements", found.measurements},
                         {"seconds", seconds_since(start)}});
    }
    if (!request.out.empty()) write_file_atomically(request.out, results.dump(1) + "\n");
    return {{"reproductions", results}};
  }

  Json analyze(const AnalyzeRequest& request) override {
    prepare(request.common);
    return run_study(request);
  }

  Json train(const TrainRequest& request) override {
    prepare(request.common);
    return run_train(request);
  }

  Json runs(const RunsRequest& request) override { return run_runs(request); }
  Json report(const ReportRequest& request) override { return run_report(request); }
};

}  // namespace
}  // namespace espalier

extern "C" espalier::LabApi* espalier_lab() {
  static espalier::Laboratory laboratory;
  return &laboratory;
}
