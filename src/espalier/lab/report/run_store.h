// What was run, with which settings, and how it went: one SQLite file of the user's.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/lab/training/training.h"
#include "espalier/requests/requests.h"

struct sqlite3;

namespace espalier {

// $ESPALIER_RUNS, else espalier/runs.db in $XDG_DATA_HOME, else in ~/.local/share; empty when there is no home.
std::filesystem::path run_store_path();

class RunStore {
 public:
  // Made if it is not there. UserError: not a run store of this version, or not writable.
  explicit RunStore(const std::filesystem::path& path);
  ~RunStore();
  RunStore(const RunStore&) = delete;

  struct Entry {
    std::string verb, label, model, out;
    Json recipe;
  };
  // A run of the same result that has not ended goes on under its id when `resumed`.
  int64_t begin(const Entry& entry, bool resumed);
  // Numbers of one (step, name) replace each other.
  void add_metrics(int64_t run, std::span<const Metric> metrics);
  void forget_metrics(int64_t run);
  void end(int64_t run, const std::string& status, const Json& result);

  Json list(int64_t limit) const;                   // the newest first, without metrics
  Json show(int64_t run) const;                     // with recipe, result and metrics; UserError: no such run
  std::vector<Metric> metrics(int64_t run) const;
  int64_t find(const std::string& id_or_out) const;  // a number, or a result's path (its newest run); UserError

 private:
  class Statement;
  void execute(const char* sql) const;
  Json result_of(const std::string& text) const;

  sqlite3* database_ = nullptr;
  std::string where_;
};

// A training's entry, live: a store that cannot be opened or written is a warning, for the training is what matters.
class RecordedRun {
 public:
  RecordedRun(const TrainRequest& request, const std::string& label, bool resumed);
  ~RecordedRun();  // "stopped", unless it has finished
  void update(const std::vector<Metric>& metrics);  // all so far
  void finish(const Json& result, const std::vector<Metric>& metrics);

 private:
  template <typename Work>
  void attempt(const Work& work);

  std::unique_ptr<RunStore> store_;
  int64_t id_ = 0;
  size_t stored_ = 0;
};

Json run_runs(const RunsRequest& request);
Json run_report(const ReportRequest& request);

}  // namespace espalier
