// The catalogue: every method is a value, registered by a static object in its own file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

class PruneJob;
class Plugin;
struct PluginRequest;  // methods/plugin_request.h

struct OptionSpec {
  std::string name, type, value;  // type: int, real, text, flag; value: the default as text
  std::string range, doc;
};

// The place in the survey's taxonomy; the words are the closed lists of methods/catalogue.cpp.
struct Taxonomy {
  std::vector<std::string> units;
  std::string speedup;
  std::vector<std::string> when;
  std::string data, criterion, learned, scope, schedule, repair, fusion;
  std::vector<std::string> families;
};

struct Reproduction {
  std::string claim;    // of the paper
  std::string ours;     // what was measured here
  bool shows = false;   // does the effect show?
  Json measurements;    // figures behind it
};

struct ReproduceContext;  // methods/reproduce.h

struct Method {
  std::string id;    // "03-amp" for the 44, a word for the baselines ("wanda")
  std::string name;
  int year = 0;
  std::string kind;  // "OneShot", …
  Taxonomy taxonomy;
  std::vector<std::string> needs;  // of data, gradients, training
  std::vector<OptionSpec> options;
  std::string default_of;          // what --sparsity is a share of when --of is not given
  std::vector<std::string> of;     // the other budgets that it takes
  bool patterns = false;           // does it take --pattern N:M and block:1xB?
  bool needs_gram = false;         // does it hold a Gram matrix of a layer's inputs? For estimates
  void (*prune)(PruneJob&) = nullptr;  // of kind OneShot
  // Of kind Plugin: what `train` runs beside the training.
  std::unique_ptr<Plugin> (*plugin)(const PluginRequest&) = nullptr;
  Reproduction (*reproduce)(ReproduceContext&) = nullptr;
  bool reproduces = true;  // does reproduce() show the effect on the embedded model? A test holds it true to that
};

struct RegisterMethod {
  explicit RegisterMethod(Method method);
};

std::vector<const Method*> registered_methods();
// By id, by number ("03"), or by the word after the number ("amp"). UserError with near names.
const Method& find_method(const std::string& id);
Json method_to_json(const Method& method);
// All 44 systems (planned ones from catalogue.json) and the baselines, 44 first, in order of id.
Json catalogue();
Json catalogue_entry(const std::string& id);

}  // namespace espalier
