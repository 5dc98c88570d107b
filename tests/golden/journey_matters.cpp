#include <cmath>

#include "espalier/lab/measure/scaling_law.h"
#include "espalier/lab/methods/training/journey_matters.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::journey_matters_cases {
namespace {

DensityShape shape_of(const Case& c) { return density_shape(c.where(), c.text_or("shape", "geometric")); }

Tensors phases(const Case& c) {
  const auto found = journey_phases(c.number("sparsity"), c.number_or("start", 0.25), c.number_or("end", 0.75), shape_of(c));
  return {{"step_shares", at::tensor(std::vector<double>(found.step_shares.begin(), found.step_shares.end()), at::kDouble)},
          {"average_density", scalar(found.average_density)},
          {"middle_mean_density", scalar(found.middle_density)}};
}

Tensors step_profile(const Case& c) {
  const DensitySchedule schedule{{shape_of(c), 1, 1 - c.number("sparsity")}, c.integer("start_step"), c.integer("end_step"), c.integer("every")};
  std::vector<double> densities;
  for (int64_t step = 0; step < c.integer("T"); ++step) densities.push_back(schedule.at(step));
  const at::Tensor density = at::tensor(densities, at::kDouble);
  return {{"density", density}, {"average_density", density.mean()}, {"compute_share", density.cumsum(0) / density.sum()}};
}

Tensors average_parameters(const Case& c) {
  const auto of = [&](const char* name, int64_t run) { return c.input(name).to(at::kDouble)[run].item<double>(); };
  std::vector<double> averages;
  for (int64_t run = 0; run < c.input("T").numel(); ++run) {
    const DensitySchedule schedule{{DensityShape::kGeometric, 1, 1 - of("final_sparsity", run)},
                                   static_cast<int64_t>(of("start_step", run)), static_cast<int64_t>(of("end_step", run)), 1};
    averages.push_back(average_density(schedule, static_cast<int64_t>(of("T", run))));
  }
  const at::Tensor average = at::tensor(averages, at::kDouble);
  return {{"average_density_geometric", average}, {"average_params", average * c.input("N_dense").to(at::kDouble)}};
}

std::vector<ScalingPoint> points_of(const Case& c, const char* params) {
  const at::Tensor n = c.input(params).to(at::kDouble), d = c.input("D").to(at::kDouble), l = c.input("L").to(at::kDouble);
  std::vector<ScalingPoint> points;
  for (int64_t i = 0; i < n.numel(); ++i) points.push_back({n[i].item<double>(), d[i].item<double>(), l[i].item<double>()});
  return points;
}

Tensors predict(const Case& c) {
  const auto points = points_of(c, "N");
  const ScalingLaw given{std::log(c.number("A")), std::log(c.number("B")), std::log(c.number("E")), c.number("alpha"), c.number("beta")};
  const at::Tensor theta = c.input("theta_logA_logB_logE_alpha_beta").to(at::kDouble).contiguous();
  const auto* t = theta.data_ptr<double>();
  const ScalingLaw law{t[0], t[1], t[2], t[3], t[4]};
  std::vector<double> predicted, logs;
  for (const auto& point : points) {
    predicted.push_back(given.loss(point.params, point.tokens));
    logs.push_back(law.log_loss(point.params, point.tokens));
  }
  return {{"predicted", at::tensor(predicted, at::kDouble)},
          {"objective", scalar(scaling_objective(law, points, c.number("huber_delta")))},
          {"log_prediction", at::tensor(logs, at::kDouble)}};
}

Tensors recover(const Case& c) {
  const ScalingLaw law = fit_scaling_law(points_of(c, "N_avg"), c.number("huber_delta")).law;
  return {{"truth_E_logA_alpha_logB_beta", at::tensor({std::exp(law.log_e), law.log_a, law.alpha, law.log_b, law.beta}, at::kDouble)}};
}

Tensors pair(const Case& c) {
  const double sparsity = c.number("sparsity");
  const double average = journey_phases(sparsity, c.number_or("start", 0.25), c.number_or("end", 0.75), shape_of(c)).average_density;
  const auto found = matched_pair(c.number("N_dense"), sparsity, average);
  return {{"matched_dense_params", scalar(found.matched_params)}, {"final_params", scalar(found.final_params)}, {"inference_saving", scalar(found.saving)}};
}

const Register kRegister("44-journey-matters", {{"phases_*", phases},
                                                {"step_profile", step_profile},
                                                {"average_parameters", average_parameters},
                                                {"chinchilla_predict_objective", predict},
                                                {"recover_exact_data", recover},
                                                {"matched_pair", pair},
                                                {"zero_sparsity", phases}});

}  // namespace
}  // namespace espalier::golden::journey_matters_cases
