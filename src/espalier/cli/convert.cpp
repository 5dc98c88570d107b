// espalier convert MODEL --to hf -o OUT: writes a model again in another format or packing.
#include <fmt/format.h>

#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/run_dir.h"
#include "espalier/families/family.h"
#include "espalier/families/output.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

class ConvertVerb : public Verb {
 public:
  ConvertVerb()
      : Verb("convert", "write a model again, in another format or packing",
             "espalier convert {model} --to hf --pack bitmap -o packed") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_choice(app, "--to", request_.to, {"hf", "onnx", "gguf"}, "the format; a Hugging Face directory unless given");
    add_choice(app, "--pack", request_.pack, {"none", "bitmap"}, "how zeros are stored");
    add_text(app, "-o,--out", request_.out, "DIR", "directory of the result");
    app.add_flag("--force", request_.force, "replace an existing result");
  }

  Json run() override;
  std::string text(const Json& result) override { return describe_object(result); }

 private:
  ConvertRequest request_;
};

Json ConvertVerb::run() {
  if (request_.out.empty()) user_error("--out: missing: where shall the result go?");
  if (!request_.to.empty() && request_.to != "hf")
    user_error("--to: {} cannot be written yet; a Hugging Face directory (hf) can", request_.to);
  const Model model = load_model(resolve_model(request_.model));
  const Json fingerprint = {
      {"convert", model.path.string()}, {"model", model_hash(model.graph)}, {"pack", request_.pack}};
  RunDirectory run(request_.out, fingerprint, {.force = request_.force, .source = model.path});
  return run.guard([&] {
    OutputOptions options;
    options.pack_bitmap = request_.pack == "bitmap";
    write_model(model, run.staging(), options);
    verify_written(run.staging(), model.graph);
    model.checkpoint->check_unchanged();
    const Json result = {{"to", "hf"}, {"pack", request_.pack}, {"bytes", model.graph.parameter_bytes()}, {"out", request_.out}};
    run.finish(result);
    return result;
  });
}

ConvertVerb convert_verb;

}  // namespace
}  // namespace espalier
