// espalier convert MODEL --to hf -o OUT: writes a model again in another format or packing.
#include <fmt/format.h>

#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/run_dir.h"
#include "espalier/core/weight_form.h"
#include "espalier/engine/weight_file.h"
#include "espalier/families/family.h"
#include "espalier/families/output.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

class ConvertVerb : public Verb {
 public:
  ConvertVerb()
      : Verb("convert", "write a model again, in another format or packing",
             "espalier convert {model} --to hf --pack int8/64 -o packed") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_choice(app, "--to", request_.to, {"hf", "onnx", "gguf"}, "the format; the model's own unless given or --out ends in .onnx");
    add_text(app, "--pack", request_.pack, "FORM", kPackHelp);
    add_text(app, "-o,--out", request_.out, "OUT", "directory of the result, or an .onnx file");
    app.add_flag("--force", request_.force, "replace an existing result");
  }

  Json run() override;
  std::string text(const Json& result) override { return describe_object(result); }

 private:
  ConvertRequest request_;
};

Json ConvertVerb::run() {
  parse_pack(request_.pack, "--pack");
  if (request_.out.empty()) user_error("--out: missing: where shall the result go?");
  if (request_.to == "gguf") user_error("--to: gguf cannot be written yet; hf (a Hugging Face directory) and onnx can");
  const Model model = load_model(resolve_model(request_.model), {request_.common.seed, request_.common.input_shapes});
  const Json fingerprint = {
      {"convert", model.path.string()}, {"model", model_hash(model.graph)}, {"to", request_.to}, {"pack", request_.pack}};
  const RunOptions run_options{.force = request_.force, .source = model.path};
  const OutputPlace place = output_place(request_.out, request_.to, model, run_options);
  RunDirectory run(place.directory, fingerprint, run_options);
  return run.guard([&] {
    OutputOptions options;
    options.pack = weight_packer(parse_pack(request_.pack, "--pack"));
    write_result(model, place, run.staging(), options);
    model.check_unchanged();
    const Json result = {{"to", place.onnx ? "onnx" : "hf"}, {"pack", request_.pack}, {"bytes", model.graph.parameter_bytes()}, {"out", request_.out}};
    run.finish(result);
    publish(place);
    return result;
  });
}

ConvertVerb convert_verb;

}  // namespace
}  // namespace espalier
