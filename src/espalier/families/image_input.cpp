#include "espalier/families/image_input.h"

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr const char* kPreprocessor = "preprocessor_config.json";

// A list of `count` finite numbers, or one number for all.
std::vector<double> numbers(const Json& config, const char* key, int64_t count, const std::string& where) {
  const Json& value = config.at(key);
  std::vector<double> list;
  if (value.is_number()) list.assign(static_cast<size_t>(count), value.get<double>());
  if (value.is_array())
    for (const Json& entry : value)
      if (entry.is_number()) list.push_back(entry.get<double>());
  if (static_cast<int64_t>(list.size()) != count || (value.is_array() && value.size() != list.size()))
    throw UserError(where, key, fmt::format("{} numbers, one a channel", count), describe(value));
  return list;
}

void read_mean_and_std(ImageInput& input, const Json& config, const char* mean, const char* std, const std::string& where) {
  if (config.contains(mean)) input.mean = numbers(config, mean, input.channels, where);
  if (config.contains(std)) input.std = numbers(config, std, input.channels, where);
  for (double value : input.std)
    if (!(value > 0)) throw UserError(where, std, "numbers above 0", fmt::format("{}", value));
}

// {"shortest_edge": 256}, {"height": 224, "width": 224} or 224: the side that a picture gets before it is cropped.
int64_t resized_side(const Json& size, const std::string& where) {
  if (size.is_number_integer()) return size.get<int64_t>();
  if (size.is_object() && size.contains("shortest_edge")) return json_int(size, "shortest_edge", where, 1, 65536);
  if (size.is_object() && size.contains("height") && size.contains("width")) return 0;
  throw UserError(where, "size", "a number, or an object with shortest_edge or with height and width", describe(size));
}

void read_preprocessor(ImageInput& input, const Json& config, const std::string& where) {
  if (!config.is_object()) throw UserError(where, "top level", "an object", describe(config));
  if (json_bool_or(config, "do_normalize", where, true)) {
    read_mean_and_std(input, config, "image_mean", "image_std", where);
  } else {
    input.mean = input.std = {};
  }
  input.divisor = 1;
  if (json_bool_or(config, "do_rescale", where, true)) {
    const double factor = json_number_or(config, "rescale_factor", where, 1.0 / 255);
    if (!(factor > 0)) throw UserError(where, "rescale_factor", "a number above 0", fmt::format("{}", factor));
    input.divisor = 1 / factor;
  }
  const bool resizes = json_bool_or(config, "do_resize", where, true) && config.contains("size");
  input.resize_short = resizes ? resized_side(config.at("size"), where) : 0;
}

void read_family_facts(ImageInput& input, const Json& facts, const std::string& where) {
  if (!facts.is_object()) throw UserError(where, "espalier_image", "an object", describe(facts));
  input.mean = input.std = {};
  read_mean_and_std(input, facts, "mean", "std", where);
  input.divisor = json_number_or(facts, "divisor", where, 255);
  if (!(input.divisor > 0)) throw UserError(where, "divisor", "a number above 0", fmt::format("{}", input.divisor));
  input.bgr = json_bool_or(facts, "bgr", where, false);
  if (facts.contains("resize")) input.resize_short = json_int(facts, "resize", where, 0, 65536);
}

}  // namespace

ImageInput image_input(const std::filesystem::path& directory, const Json& config, const Shape& shape) {
  ESP_ASSERT(shape.size() == 4);
  ImageInput input;
  input.channels = shape[1];
  input.height = shape[2];
  input.width = shape[3];
  if (input.channels == 3) {
    input.mean = {0.485, 0.456, 0.406};
    input.std = {0.229, 0.224, 0.225};
  }
  const auto file = directory / kPreprocessor;
  if (std::filesystem::is_regular_file(file)) {
    read_preprocessor(input, read_json(file), file.string());
  } else if (config.is_object() && config.contains("espalier_image")) {
    read_family_facts(input, config.at("espalier_image"), (directory / "config.json").string());
  }
  return input;
}

}  // namespace espalier
