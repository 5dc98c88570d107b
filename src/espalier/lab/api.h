// The wall between the program and the laboratory: libespalier-lab.so implements this and is opened with dlopen only by
// verbs that need it, so that everything else starts without libtorch.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// Every call returns what `--json` prints (the fields of docs/cli.md); "espalier", "seed" and "threads" are added by
// the program. Mistakes of the user are UserError, an interruption Interrupted. Before any call the program has set the
// thread count of core/thread_pool.h, verbosity, progress mode and signal handlers; libtorch's own thread count is the
// laboratory's to set, from CommonRequest::threads.
class LabApi {
 public:
  virtual ~LabApi() = default;

  virtual Json methods(const MethodsRequest& request) = 0;  // a list, or one object when an id was given
  virtual Json plan(const PlanRequest& request) = 0;
  virtual Json prune(const PruneRequest& request) = 0;
  virtual Json eval(const EvalRequest& request) = 0;
  virtual Json compare(const CompareRequest& request) = 0;  // a list of rows
  virtual Json compare_policies(const PolicyCompareRequest& request) = 0;  // likewise
  virtual Json reproduce(const ReproduceRequest& request) = 0;
  virtual Json analyze(const AnalyzeRequest& request) = 0;
  virtual Json train(const TrainRequest& request) = 0;
  virtual Json runs(const RunsRequest& request) = 0;
  virtual Json report(const ReportRequest& request) = 0;
};

}  // namespace espalier

// What the laboratory exports.
extern "C" espalier::LabApi* espalier_lab();
