#include "espalier/cli/prune_options.h"

#include "espalier/requests/recipe.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/weight_form.h"

namespace espalier {
namespace {

const char* const kStepOptions[] = {"--method", "--sparsity", "--of", "--pattern", "--repair", "--set"};

}  // namespace

void PruneOptions::declare(CLI::App& app) {
  add_model(app, request.model);
  add_text(app, "--method", step_.method, "METHOD", "id of the method (`espalier methods` lists them)");
  add_share(app, "--sparsity", step_.sparsity, "share to remove, in [0, 1)");
  add_choice(app, "--of", step_.of, kBudgets, "of what that is a share; by default the method's own");
  add_text(app, "--pattern", step_.pattern, "PATTERN",
           "unstructured; N:M: of every M inputs of an output keep N, as 2:4; block:1xB: B inputs go or stay together, as block:1x16");
  add_texts(app, "--set", settings_, "NAME=VALUE",
            "an option of the method, or repair.NAME of the repair (repeatable)");
  add_choice(app, "--repair", step_.repair, kRepairs,
             "what the survivors do about it; ls fits them layer by layer, the others train");
  add_text(app, "--recipe", request.recipe, "FILE", "YAML with several steps, instead of --method and its options");
  add_text(app, "--calib", request.calib.data, "DATA", "calibration data; by default an embedded sample");
  add_integer(app, "--samples", request.calib.samples, 1, kMostTokens, "calibration sequences or images");
  add_integer(app, "--length", request.calib.length, 0, kMostTokens, "tokens a sequence; 0: the model's context");
  add_text(app, "--eval", request.eval_data, "DATA", "measure quality on it before and after");
  add_texts(app, "--protect", request.protect, "PATTERN", "nodes that stay untouched (repeatable)");
  add_integer(app, "--align", request.align, 1, 4096, "widths that remain are multiples of this");
  app.add_flag("--uniform", request.uniform, "same widths in every block, so that stock loaders read the result");
  add_text(app, "--pack", request.pack, "FORM", kPackHelp);
}

bool PruneOptions::complete(const CLI::App& app) {
  parse_pack(request.pack, "--pack");
  if (request.recipe.empty()) {
    if (step_.method.empty())
      user_error("--method: missing; `espalier methods` lists the methods, --recipe takes several");
    parse_pattern(step_.pattern, "--pattern");
    step_.options = parse_settings(settings_);
    request.steps = {step_};
    return false;
  }
  for (const char* name : kStepOptions)
    if (app.count(name) > 0) user_error("{}: the steps are those of --recipe {}; write it there", name, request.recipe);
  request = read_recipe(request.recipe);
  return true;
}

void PruneOptions::check_inputs() const {
  if (request.model.empty()) user_error("MODEL: missing; `espalier models` lists the embedded ones");
  resolve_model(request.model);
  for (const auto& data : {request.calib.data, request.eval_data})
    if (!data.empty()) resolve_data(data);
}

}  // namespace espalier
