// 08 SPA, section E, OBSPA (2024): Optimal Brain Surgeon chooses what goes and moves the weights that stay, in closed
// form; the layer inputs may come from any data, or from noise.
#include "espalier/core/error.h"
#include "espalier/lab/methods/picture_arm.h"
#include "espalier/lab/methods/structures/calibration_inputs.h"
#include "espalier/lab/methods/structures/channel_methods.h"
#include "espalier/lab/repair/obspa.h"

namespace espalier::obspa_method {
namespace {

ObspaOptions options_of(const PruneJob& job, CalibrationMode mode) {
  ObspaOptions options;
  options.damp = job.option_real("damp");
  options.columns = job.option_int("columns");
  options.update = job.option_flag("update");
  options.norms = mode != CalibrationMode::kNone;
  options.seed = job.settings().seed;
  if (!(options.damp >= 0)) throw UserError("obspa", "option damp", "at least 0", fmt::format("{}", options.damp));
  if (options.columns < 1) throw UserError("obspa", "option columns", "at least 1", fmt::format("{}", options.columns));
  return options;
}

void prune(PruneJob& job) {
  const CalibrationMode mode = calibration_mode(job, job.option_text("data"));
  const ObspaOptions options = options_of(job, mode);
  const Aggregation aggregation = parse_aggregation(job.option_text("aggregation"));
  const GroupNormaliser normaliser = parse_group_normaliser(job.option_text("normaliser"));
  const int64_t samples = job.option_text("samples").empty() ? 0 : job.option_int("samples");
  std::vector<GraphInputs> batches;  // made when they are first asked for
  const auto inputs = [&]() -> const std::vector<GraphInputs>& {
    if (batches.empty()) batches = calibration_inputs(job, mode, samples);
    return batches;
  };
  Json layers = Json::array();
  remove_sets(
      job, set_removal(job),
      [&](const Graph& graph, const Coupling& coupling) {
        return group_importance(coupling, obs_element_scores(graph, inputs(), options), aggregation, normaliser);
      },
      [&](Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts) {
        for (const auto& update : obspa_update(graph, coupling, cuts, inputs(), options))
          layers.push_back({{"node", update.node}, {"inputs_removed", update.removed}, {"err_zeroed", update.err_zeroed}, {"err_updated", update.err_updated}});
      });
  job.findings()["layers"] = std::move(layers);
}

// All arms with one ranking over all groups, so that they differ in the scores and in the update alone.
Reproduction reproduce(ReproduceContext& context) {
  const double share = 0.3;
  const auto top1 = [&](const std::string& method, std::map<std::string, std::string> options, uint64_t seed = 0) {
    options.try_emplace("scope", "global");
    return picture_arm(context, context.vision_model, {.method = method, .sparsity = share, .of = "flops", .options = options, .seed = seed, .align = 1}).top1;
  };
  const double dense = dense_accuracy(context, context.vision_model);
  const double id = top1("obspa", {{"data", "id"}}), none = top1("obspa", {{"data", "none"}}), l1 = top1("08-spa", {{"criterion", "l1"}});
  double random = 0;
  for (uint64_t seed = 0; seed < 3; ++seed) random += top1("08-spa", {{"criterion", "random"}}, seed) / 3;
  const double local = top1("obspa", {{"data", "id"}, {"scope", "layer"}}), local_l1 = top1("08-spa", {{"criterion", "l1"}, {"scope", "layer"}});
  return {"channels can go without fine-tuning, even without data: OBSPA keeps the best accuracy among data-free methods at equal FLOPs",
          fmt::format("top-1 of the embedded picture model ({:.1f} % dense) with {:.0f} % of the FLOPs removed, no training, one ranking of all groups: OBSPA with data {:.1f} %, without {:.1f} %; "
                      "SPA with L1 {:.1f} %, random {:.1f} % (mean of 3 seeds); with the same share of every group: OBSPA with data {:.1f} %, L1 {:.1f} %",
                      100 * dense, 100 * share, 100 * id, 100 * none, 100 * l1, 100 * random, 100 * local, 100 * local_l1),
          id > none && none > l1 && l1 > random,
          {{"dense", dense}, {"obspa_id", id}, {"obspa_none", none}, {"l1", l1}, {"random", random}, {"obspa_id_local", local}, {"l1_local", local_l1}}};
}

const RegisterMethod registered(
    {.id = "obspa",
     .name = "OBSPA",
     .year = 2024,
     .kind = "OneShot",
     .taxonomy = channel_taxonomy("second order (OBS)", "unlabelled", "calibration"),
     .needs = {},
     .options = set_removal_options("layer", {{"data", "text", "", "id, ood, none", "where layer inputs come from; empty: --calib's data when it is given, else none: uniform noise"},
                                               {"samples", "int", "", "> 0", "pictures or sequences; empty: 256 pictures, of noise 2048 (1024 above 64 x 64 pixels), of text what --samples says"},
                                               {"damp", "real", "0.01", ">= 0", "share of the Hessian's mean diagonal that is added to it"},
                                               {"columns", "int", "16384", "> 0", "output positions of a convolution that its Hessian is summed over"},
                                               {"update", "flag", "true", "true, false", "move the weights that stay; false: only the choice is OBS"},
                                               {"aggregation", "text", "sum", "sum, mean, max, prod", "from the slices of a set to its score"},
                                               {"normaliser", "text", "mean", "mean, max, sum, none", "what a group's scores are divided by"}}),
     .default_of = "params",
     .of = {"flops", "bytes", "latency"},
     .needs_gram = true,
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::obspa_method
