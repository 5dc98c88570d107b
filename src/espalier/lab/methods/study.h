// Studies: findings about a model, as tables and files. A study is a value, registered by a static object in its own file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/families/family.h"
#include "espalier/lab/methods/option_values.h"
#include "espalier/requests/requests.h"

namespace espalier {

class StudyJob {
 public:
  StudyJob(OptionValues options, const Model& model, const AnalyzeRequest& request, std::filesystem::path out)
      : options_(std::move(options)), model_(model), request_(request), out_(std::move(out)) {}

  const Model& model() const { return model_; }
  const std::string& data() const { return request_.data; }  // as typed; "": the study's default
  uint64_t seed() const { return request_.common.seed; }
  const std::filesystem::path& out() const { return out_; }  // a folder for the study's files

  const OptionValues& options() const { return options_; }
  std::string text(const std::string& name) const { return options_.text(name); }
  bool has(const std::string& name) const { return options_.has(name); }
  int64_t integer(const std::string& name, int64_t least, int64_t most) const { return options_.integer(name, least, most); }
  double real(const std::string& name, double least, double most) const { return options_.real(name, least, most); }

 private:
  OptionValues options_;
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
