#include "espalier/lab/methods/study.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/run_dir.h"
#include "espalier/lab/methods/runner.h"

namespace espalier {
namespace {

std::vector<Study>& registry() {
  static std::vector<Study> studies;
  return studies;
}

const Study& find_study(const std::string& id) {
  std::vector<std::string> known;
  for (const Study& study : registry()) {
    if (study.id == id) return study;
    known.push_back(study.id);
  }
  std::sort(known.begin(), known.end());
  user_error("analyze: there is no study '{}'{}; expected one of {}", printable(id), did_you_mean(id, known), fmt::join(known, ", "));
}

void check_options(const Study& study, const MethodOptions& given) {
  std::vector<std::string> known;
  for (const auto& option : study.options) known.push_back(option.name);
  for (const auto& [name, value] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("study {}: there is no option '{}'{}; expected one of {}", study.id, printable(name), did_you_mean(name, known), fmt::join(known, ", "));
}

template <typename T>
bool parse(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return !text.empty() && read.ec == std::errc() && read.ptr == end;
}

}  // namespace

RegisterStudy::RegisterStudy(Study study) { registry().push_back(std::move(study)); }

std::string StudyJob::text(const std::string& name) const {
  if (const auto found = request_.options.find(name); found != request_.options.end()) return found->second;
  for (const auto& option : study_.options)
    if (option.name == name) return option.value;
  bug(__FILE__, __LINE__, "study " + study_.id + " has no option " + name);
}

int64_t StudyJob::integer(const std::string& name, int64_t least, int64_t most) const {
  int64_t value = 0;
  if (!parse(text(name), value) || value < least || value > most)
    throw UserError("study " + study_.id, name, fmt::format("a whole number from {} to {}", least, most), printable(text(name)));
  return value;
}

double StudyJob::real(const std::string& name, double least, double most) const {
  double value = 0;
  if (!parse(text(name), value) || !(value >= least && value <= most))
    throw UserError("study " + study_.id, name, fmt::format("a number from {} to {}", least, most), printable(text(name)));
  return value;
}

Json run_study(const AnalyzeRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const Study& study = find_study(request.study);
  check_options(study, request.options);
  const Model model = open_model(request.model, request.common);
  const Json fingerprint = {{"study", study.id},       {"model", model.path.string()}, {"data", request.data},
                            {"options", request.options}, {"seed", request.common.seed}};
  RunDirectory run(request.out, fingerprint, {request.force, false, model.path});
  Json result = run.guard([&] {
    StudyJob job(study, model, request, run.staging());
    Json found = study.run(job);
    found["study"] = study.id;
    write_file_atomically(run.staging() / "study.json", found.dump(1) + "\n");
    run.finish(found);
    return found;
  });
  result["out"] = request.out;
  result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace espalier
