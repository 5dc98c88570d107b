#include "espalier/lab/methods/study.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/run_dir.h"
#include "espalier/lab/methods/runner.h"

namespace espalier {
namespace {

std::vector<Study>& study_registry() {
  static std::vector<Study> studies;
  return studies;
}

const Study& find_study(const std::string& id) {
  std::vector<std::string> known;
  for (const Study& study : study_registry()) {
    if (study.id == id) return study;
    known.push_back(study.id);
  }
  std::sort(known.begin(), known.end());
  user_error("analyze: there is no study '{}'{}; expected one of {}", printable(id), did_you_mean(id, known), fmt::join(known, ", "));
}

}  // namespace

RegisterStudy::RegisterStudy(Study study) { study_registry().push_back(std::move(study)); }

Json run_study(const AnalyzeRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const Study& study = find_study(request.study);
  const OptionValues options("study " + study.id, study.options, request.options);
  const Model model = open_model(request.model, request.common);
  const Json fingerprint = {{"study", study.id},       {"model", model.path.string()}, {"data", request.data},
                            {"options", request.options}, {"seed", request.common.seed}};
  RunDirectory run(request.out, fingerprint, {request.force, false, model.path});
  Json result = run.guard([&] {
    StudyJob job(options, model, request, run.staging());
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
