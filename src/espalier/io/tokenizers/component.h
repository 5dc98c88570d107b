// tokenizer.json describes every stage as {"type": NAME, options…}; this finds the factory of a name.
#pragma once

#include <fmt/ranges.h>

#include <map>
#include <memory>
#include <string>

#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier::tok {

// `where` is "FILE: normalizer.normalizers[2]".
template <typename Stage>
using Factories = std::map<std::string, std::unique_ptr<Stage> (*)(const Json& spec, const std::string& where)>;

template <typename Stage>
std::unique_ptr<Stage> make_stage(const Json& spec, const Factories<Stage>& factories, const std::string& where) {
  if (!spec.is_object()) throw UserError(where, "value", "an object with a type", describe(spec));
  const std::string type = json_string(spec, "type", where);
  const auto found = factories.find(type);
  if (found == factories.end()) {
    std::vector<std::string> known;
    for (const auto& [name, factory] : factories) known.push_back(name);
    throw UserError(where, "type", fmt::format("one of {}", fmt::join(known, ", ")),
                    fmt::format("'{}'{}", printable(type), did_you_mean(type, known)));
  }
  return found->second(spec, fmt::format("{} ({})", where, type));
}

// The array `key` of `spec`; `shape` says in the error what it should hold.
inline const Json& required_array(const Json& spec, const std::string& key, const std::string& where,
                                  const std::string& shape = "an array") {
  const auto found = spec.find(key);
  if (found == spec.end() || !found->is_array())
    throw UserError(where, key, shape, found == spec.end() ? "nothing" : describe(*found));
  return *found;
}

// The stages of a Sequence, in order.
template <typename Stage, typename Make>
std::vector<std::unique_ptr<Stage>> make_sequence(const Json& spec, const std::string& key, Make&& make,
                                                  const std::string& where) {
  const Json& list = required_array(spec, key, where);
  std::vector<std::unique_ptr<Stage>> stages;
  for (size_t i = 0; i < list.size(); ++i) stages.push_back(make(list[i], fmt::format("{}.{}[{}]", where, key, i)));
  return stages;
}

}  // namespace espalier::tok
