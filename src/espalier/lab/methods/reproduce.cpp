#include "espalier/lab/methods/reproduce.h"

#include <chrono>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/methods/job.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

TokenSequences evaluation_windows(const ReproduceContext& context, const Model& model) {
  TokenStream stream(context.evaluation, context.tokenizer);
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < context.evaluation_tokens && stream.next(ids)) {
  }
  ids.resize(std::min(ids.size(), static_cast<size_t>(context.evaluation_tokens)));
  return windows_of(ids, model.context_length, model.context_length);
}

Quality quality_of(const ReproduceContext& context, const Model& model) {
  return measure_quality(model.graph, evaluation_windows(context, model), model.context_length, model.context_length);
}

}  // namespace

ReproduceContext::Arm ReproduceContext::run(const std::string& id, double sparsity, const std::map<std::string, std::string>& options,
                                            uint64_t arm_seed, const std::string& pattern) const {
  const Method& method = find_method(id);
  Model model = load_model(model_path);
  JobSettings settings;
  settings.sparsity = sparsity;
  settings.of = method.default_of;
  settings.options = options;
  settings.seed = arm_seed;
  const PatternWord word = parse_pattern(pattern, id);
  if (word.m > 0) settings.pattern = NOfM{word.n, word.m};
  settings.block = word.block;
  PruneJob job(method, model, {calibration, tokenizer, 64, 0}, settings, nullptr, 0);
  method.prune(job);
  return {quality_of(*this, model), model.graph.parameter_count(), job.reached(), job.findings()};
}

double ReproduceContext::mean_perplexity(const std::string& id, double sparsity, const std::map<std::string, std::string>& options, int seeds) const {
  double sum = 0;
  for (int s = 0; s < seeds; ++s) sum += run(id, sparsity, options, static_cast<uint64_t>(s)).quality.perplexity.value;
  return sum / seeds;
}

Quality ReproduceContext::dense() const { return quality_of(*this, load_model(model_path)); }

ReproduceContext embedded_context(uint64_t seed) {
  ReproduceContext context;
  context.model_path = resolve_model(kEmbeddedLanguageModel);
  context.calibration = resolve_data("calibration.txt");
  context.evaluation = resolve_data("evaluation.txt");
  context.tokenizer = Tokenizer::load(context.model_path);
  context.vision_model = resolve_model(kEmbeddedClassifier);
  context.vision_transformer = resolve_model(kEmbeddedVisionTransformer);
  context.vision_train = resolve_data(kEmbeddedPictures);
  context.vision_test = resolve_data(kEmbeddedTestPictures);
  context.seed = seed;
  return context;
}

}  // namespace espalier
