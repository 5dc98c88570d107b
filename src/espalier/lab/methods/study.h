// Studies: findings about a model, as tables and files. A study is a value, registered by a static object in its own file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/families/family.h"
#include "espalier/lab/methods/method.h"
#include "espalier/requests/requests.h"

namespace espalier {

struct Study;

class StudyJob {
 public:
  StudyJob(const Study& study, const Model& model, const AnalyzeRequest& request, std::filesystem::path out)
      : study_(study), model_(model), request_(request), out_(std::move(out)) {}

  const Model& model() const { return model_; }
  const std::string& data() const { return request_.data; }  // as typed; "": the study's default
  uint64_t seed() const { return request_.common.seed; }
  const std::filesystem::path& out() const { return out_; }  // a folder for the study's files

  // Options with the study's defaults filled in. UserError naming the option.
  std::string text(const std::string& name) const;
  bool has(const std::string& name) const { return !text(name).empty(); }
  int64_t integer(const std::string& name, int64_t least, int64_t most) const;
  double real(const std::string& name, double least, double most) const;

 private:
  const Study& study_;
  const Model& model_;
  const AnalyzeRequest& request_;
  std::filesystem::path out_;
};

struct Study {
  std::string id, summary;
  std::vector<OptionSpec> options;
  // {"tables": {name: {"columns", "rows"}}, "summary"}; may write files to the job's folder.
  Json (*run)(StudyJob& job);
};

struct RegisterStudy {
  explicit RegisterStudy(Study study);
};

// Runs a study and writes study.json beside its files. What `analyze --json` prints.
Json run_study(const AnalyzeRequest& request);

}  // namespace espalier
