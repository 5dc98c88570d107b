#include "espalier/engine/attention/policies/duo_gates.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/ranking.h"

namespace espalier {
namespace {

constexpr uint64_t kMostBytes = 16u << 20;

using Rows = std::vector<std::vector<double>>;

Rows rows_of(const Json& gates, const std::string& where) {
  if (!gates.is_array()) throw UserError(where, "gates", "a list of lists, one for each layer", describe(gates));
  Rows rows;
  for (const Json& layer : gates) {
    auto& row = rows.emplace_back();
    if (!layer.is_array()) throw UserError(where, fmt::format("gates of layer {}", rows.size() - 1), "a list of numbers", describe(layer));
    for (const Json& gate : layer) {
      if (!gate.is_number()) throw UserError(where, fmt::format("gate {} of layer {}", row.size(), rows.size() - 1), "a number", describe(gate));
      row.push_back(gate.get<double>());
    }
  }
  return rows;
}

Rows rows_of_tsv(const std::string& text, const std::string& where) {
  Rows rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line == "\r") continue;
    auto& row = rows.emplace_back();
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      double value = 0;
      const auto end = word.data() + word.size();
      if (const auto read = std::from_chars(word.data(), end, value); read.ec != std::errc() || read.ptr != end)
        throw UserError(where, fmt::format("gate {} of layer {}", row.size(), rows.size() - 1), "a number", printable(word));
      row.push_back(value);
    }
  }
  return rows;
}

std::string shape_of(const std::vector<size_t>& heads) { return fmt::format("{} layers of {} KV heads", heads.size(), fmt::join(heads, ", ")); }

template <typename Row>
std::vector<size_t> widths(const std::vector<Row>& rows) {
  std::vector<size_t> list;
  for (const Row& row : rows) list.push_back(row.size());
  return list;
}

HeadGates checked(const Rows& rows, std::span<const AttentionLayer> layers, const std::string& where) {
  std::vector<size_t> expected;
  for (const AttentionLayer& layer : layers) expected.push_back(static_cast<size_t>(layer.kv_heads));
  if (widths(rows) != expected) throw UserError(where, "gates", "as the model has them, " + shape_of(expected), shape_of(widths(rows)));
  HeadGates gates;
  for (size_t l = 0; l < rows.size(); ++l) {
    gates.emplace_back();
    for (double value : rows[l]) {
      if (!std::isfinite(value))
        throw UserError(where, fmt::format("gate {} of layer {}", gates[l].size(), l), "a finite number", fmt::format("{}", value));
      gates[l].push_back(static_cast<float>(std::clamp(value, 0.0, 1.0)));
    }
  }
  return gates;
}

HeadChoice choice_like(const HeadGates& alpha) {
  HeadChoice full;
  for (const auto& row : alpha) full.emplace_back(row.size(), uint8_t{0});
  return full;
}

}  // namespace

DuoGates read_duo_gates(const std::filesystem::path& path, std::span<const AttentionLayer> layers) {
  const std::string where = path.string();
  DuoGates gates;
  if (path.extension() == ".tsv") {
    gates.alpha = checked(rows_of_tsv(read_file(path, kMostBytes), where), layers, where);
    return gates;
  }
  const Json file = read_json(path, kMostBytes);
  if (!file.is_object() || !file.contains("gates")) throw UserError(where, "value", "an object with gates", describe(file));
  gates.alpha = checked(rows_of(file["gates"], where), layers, where);
  constexpr int64_t kMost = int64_t{1} << 31;
  if (file.contains("sink")) gates.sink = json_int(file, "sink", where, 0, kMost);
  if (file.contains("recent")) gates.recent = json_int(file, "recent", where, 1, kMost);
  return gates;
}

Json duo_gates_to_json(const DuoGates& gates) {
  Json file = {{"gates", gates.alpha}};
  if (gates.sink) file["sink"] = *gates.sink;
  if (gates.recent) file["recent"] = *gates.recent;
  return file;
}

HeadChoice full_heads_by_sparsity(const HeadGates& alpha, double sparsity) {
  std::vector<float> flat;
  for (const auto& row : alpha) flat.insert(flat.end(), row.begin(), row.end());
  const auto n = static_cast<int64_t>(flat.size());
  int64_t count = n;
  if (sparsity > 0) count = sparsity >= 1 ? 0 : n - static_cast<int64_t>(std::ceil(sparsity * static_cast<double>(n - 1) - 1e-9));
  std::vector<uint8_t> chosen(flat.size(), 0);
  for (int64_t i : select_largest(flat, count)) chosen[static_cast<size_t>(i)] = 1;
  HeadChoice full = choice_like(alpha);
  size_t at = 0;
  for (auto& row : full)
    for (auto& head : row) head = chosen[at++];
  return full;
}

HeadChoice full_heads_by_threshold(const HeadGates& alpha, double threshold) {
  HeadChoice full = choice_like(alpha);
  for (size_t l = 0; l < alpha.size(); ++l)
    for (size_t g = 0; g < alpha[l].size(); ++g) full[l][g] = static_cast<double>(alpha[l][g]) > threshold;
  return full;
}

}  // namespace espalier
