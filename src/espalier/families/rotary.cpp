#include "espalier/families/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr double kTau = 2 * std::numbers::pi;

double positive(const Json& object, const std::string& key, const std::string& where, double otherwise) {
  const double value = json_number_or(object, key, where, otherwise);
  if (!(value > 0)) throw UserError(where, key, "a positive number", fmt::format("{}", value));
  return value;
}

// Llama 3.1: wavelengths beyond the old context are stretched by `factor`, short ones kept, those between blended.
void scale_llama3(std::vector<double>& frequency, const Json& scaling, const std::string& where) {
  const double factor = positive(scaling, "factor", where, 8), low = positive(scaling, "low_freq_factor", where, 1);
  const double high = positive(scaling, "high_freq_factor", where, 4);
  const double old = positive(scaling, "original_max_position_embeddings", where, 8192);
  if (high <= low) throw UserError(where, "high_freq_factor", fmt::format("more than low_freq_factor {}", low), fmt::format("{}", high));
  for (double& f : frequency) {
    const double wavelength = kTau / f;
    if (wavelength < old / high) continue;
    const double smooth = std::clamp((old / wavelength - low) / (high - low), 0.0, 1.0);
    f = (1 - smooth) * f / factor + smooth * f;
  }
}

// YaRN: channels that turn often inside the old context are kept, slow ones interpolated, linearly blended between.
double scale_yarn(std::vector<double>& frequency, const Json& scaling, double theta, int64_t rotary_size,
                  int64_t context_length, const std::string& where) {
  const double factor = positive(scaling, "factor", where, 1);
  const double old = positive(scaling, "original_max_position_embeddings", where, static_cast<double>(context_length));
  const double fast = positive(scaling, "beta_fast", where, 32), slow = positive(scaling, "beta_slow", where, 1);
  auto channel_of = [&](double turns) {
    return static_cast<double>(rotary_size) * std::log(old / (turns * kTau)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(channel_of(fast)), 0.0);
  double high = std::min(std::ceil(channel_of(slow)), static_cast<double>(rotary_size - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequency.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequency[i] = frequency[i] / factor * ramp + frequency[i] * (1 - ramp);
  }
  return json_number_or(scaling, "attention_factor", where, factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1.0);
}

}  // namespace

RotaryPlan rotary_plan(const Json& config, int64_t rotary_size, int64_t context_length, const std::string& where) {
  if (rotary_size < 2 || rotary_size % 2 != 0) throw UserError(where, "rotary size", "an even number", fmt::format("{}", rotary_size));
  const auto newer = config.find("rope_parameters");
  const bool has_newer = newer != config.end() && newer->is_object();
  const double theta = positive(has_newer && newer->contains("rope_theta") ? *newer : config, "rope_theta", where, 10000);
  RotaryPlan plan;
  for (int64_t i = 0; i < rotary_size; i += 2)
    plan.inverse_frequency.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(rotary_size)));
  const auto older = config.find("rope_scaling");
  const Json* scaling = has_newer ? &*newer : older != config.end() && older->is_object() ? &*older : nullptr;
  if (!scaling) return plan;
  const std::string type = json_string_or(*scaling, "rope_type", where, json_string_or(*scaling, "type", where, "default"));
  if (type == "linear") {
    for (double& f : plan.inverse_frequency) f /= positive(*scaling, "factor", where, 1);
  } else if (type == "llama3") {
    scale_llama3(plan.inverse_frequency, *scaling, where);
  } else if (type == "yarn") {
    plan.scale = scale_yarn(plan.inverse_frequency, *scaling, theta, rotary_size, context_length, where);
  } else if (type != "default" && type != "dynamic") {
    // dynamic changes nothing up to the context length, and espalier runs no further
    throw UserError(where, "rope_scaling type", "default, linear, dynamic, llama3 or yarn", printable(type));
  }
  return plan;
}

}  // namespace espalier
