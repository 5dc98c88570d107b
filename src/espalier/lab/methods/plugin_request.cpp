#include "espalier/lab/methods/plugin_request.h"

#include "espalier/core/error.h"

namespace espalier {

std::unique_ptr<Plugin> make_plugin(const std::string& id, const std::map<std::string, std::string>& given, std::optional<double> sparsity,
                                    const Model& model, const TrainOptions& training, int64_t steps, int64_t steps_an_epoch) {
  const Method& method = find_method(id);
  if (!method.plugin) user_error("train: {} prunes without a training: use prune --method {}", method.id, id);
  const OptionValues options(method.id, method.options, given);
  return method.plugin({options, sparsity, model, training, steps, steps_an_epoch});
}

}  // namespace espalier
