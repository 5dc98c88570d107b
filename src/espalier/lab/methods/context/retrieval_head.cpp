// SpeContext's retrieval head ("SpeContext: Enabling Efficient Long-context Reasoning with Speculative Context Sparsity in
// LLMs", 2025) as a study: distilled from a model, for the engine's policy 05-specontext, and beside other choices.
#include <algorithm>
#include <cmath>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/progress.h"
#include "espalier/core/rng.h"
#include "espalier/engine/text_quality.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/training/retrieval_head.h"

namespace espalier::retrieval_head_study {
namespace {

constexpr int64_t kMost = int64_t{1} << 20, kShortContext = 2048, kSmallSteps = 200, kSink = 4, kTexts = 4, kQueries = 32;


// Tokens without a model behind them: `count` random ones, and the first few with the last.
TokenChoice random_choice(uint64_t seed, const std::function<int64_t(int64_t)>& budget) {
  return [=](int64_t kv_head, int64_t i) {
    Rng rng(seed, fmt::format("random/{}/{}", kv_head, i));
    std::vector<int32_t> all(static_cast<size_t>(i));
    for (size_t j = 0; j < all.size(); ++j) all[j] = static_cast<int32_t>(j);
    rng.shuffle(all);
    all.resize(static_cast<size_t>(budget(i)));
    std::sort(all.begin(), all.end());
    return all;
  };
}
TokenChoice window_choice(const std::function<int64_t(int64_t)>& budget) {
  return [=](int64_t, int64_t i) {
    const int64_t count = budget(i), sinks = std::min(kSink, count);
    std::vector<int32_t> ids;
    for (int64_t j = 0; j < sinks; ++j) ids.push_back(static_cast<int32_t>(j));
    for (int64_t j = std::max(sinks, i - (count - sinks)); j < i; ++j) ids.push_back(static_cast<int32_t>(j));
    return ids;
  };
}

// Of attention within texts that the head was not distilled on.
Json captured(const StudyJob& job, const RetrievalWeights& distilled, double share) {
  const Model& model = job.model();
  const auto tokens = tokens_of(resolve_data("evaluation.txt"), model, 0);
  const int64_t length = std::min<int64_t>(model.context_length, kShortContext);
  const AttentionLayer layer = first_attention(model);
  const std::function<int64_t(int64_t)> budget = [=](int64_t i) { return std::max<int64_t>(1, static_cast<int64_t>(std::lround(share * static_cast<double>(i)))); };
  std::vector<int64_t> positions;
  for (int64_t n = 0; n < kQueries; ++n) positions.push_back(length / 2 + n * (length - length / 2) / kQueries);
  std::vector<double> sums(4, 0.0);
  int64_t texts = 0;
  for (; texts < kTexts && (texts + 1) * length <= static_cast<int64_t>(tokens.size()); ++texts) {
    const std::vector<int32_t> ids(tokens.begin() + texts * length, tokens.begin() + (texts + 1) * length);
    const auto found = captured_attention(model, ids, positions,
                                          {retrieval_choice(distilled, layer, ids, positions, budget),
                                           retrieval_choice(weights_of(model, model.graph), layer, ids, positions, budget),
                                           window_choice(budget), random_choice(job.seed() + static_cast<uint64_t>(texts), budget)});
    for (size_t c = 0; c < sums.size(); ++c) sums[c] += found[c];
  }
  Json rows = Json::array();
  for (size_t c = 0; texts > 0 && c < sums.size(); ++c)
    rows.push_back({std::vector{"distilled", "layer0", "sink and recent", "random"}[c], sums[c] / static_cast<double>(texts)});
  return rows;
}

Json run(StudyJob& job) {
  const Model& model = job.model();
  if (model.task != Task::kText) user_error("{}: a retrieval head is for language models", model.path.string());
  RetrievalTraining training;
  training.length = std::min<int64_t>(job.integer("length", 16, kMost), model.context_length);
  training.batch = job.integer("batch", 1, 1024);
  training.steps = job.has("steps") ? job.integer("steps", 1, kMost) : model.context_length > kShortContext ? training.steps : kSmallSteps;
  training.lr = job.real("lr", 0, 10);
  training.seed = job.seed();
  const double share = job.real("share", 0, 1);
  const std::string beside = job.text("beside");
  if (beside != "true" && beside != "false") throw UserError("study retrieval-head", "beside", "true or false", printable(beside));
  const auto tokens = tokens_of(resolve_data(job.data().empty() ? "calibration.txt" : job.data()), model, 0);
  Progress progress("distilling", training.steps, "step");
  Json losses = Json::array();
  int64_t done = 0;
  const RetrievalWeights weights = train_retrieval_head(model, tokens, training, [&](const RetrievalReport& report) {
    losses.push_back({report.step, report.divergence});
    progress.advance(report.step - done);
    done = report.step;
    progress.note(fmt::format("{:.3f} nats from the model", report.divergence));
  });
  write_retrieval_head(job.out() / kRetrievalHeadFile, weights);
  if (beside == "true") write_retrieval_head(model.directory() / kRetrievalHeadFile, weights);
  const Json rows = captured(job, weights, share);
  std::string figures;
  for (const Json& row : rows) figures += fmt::format("; {} {:.3f}", row[0].get<std::string>(), row[1].get<double>());
  return {{"tables",
           {{"losses", {{"columns", {"step", "divergence"}}, {"rows", losses}}}, {"captured", {{"columns", {"tokens", "attention"}}, {"rows", rows}}}}},
          {"figures", Json::array()},
          {"files", {kRetrievalHeadFile}},
          {"summary", fmt::format("divergence {:.4g} at the start, {:.4g} at the end; attention captured by {:.0f} % of the tokens{}",
                                  losses.front()[1].get<double>(), losses.back()[1].get<double>(), 100 * share, figures)}};
}

const RegisterStudy registered({"retrieval-head",
                                "a small head that finds the tokens a model will look at: for --policy 05-specontext",
                                {{"steps", "int", "", "1 …", "steps of the distillation (2000; contexts up to 2048: 200)"},
                                 {"batch", "int", "8", "1 … 1024", "texts a step"},
                                 {"length", "int", "512", "16 … context", "tokens of a text"},
                                 {"lr", "real", "0.0003", "0 … 10", "learning rate of AdamW, by a cosine to 0"},
                                 {"share", "real", "0.25", "0 … 1", "of the tokens, when the captured attention is measured"},
                                 {"beside", "flag", "false", "true, false", "write retrieval-head.safetensors beside the model too"}},
                                run});

}  // namespace
}  // namespace espalier::retrieval_head_study
