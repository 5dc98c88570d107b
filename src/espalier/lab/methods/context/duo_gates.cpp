// DuoAttention's identification ("DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads",
// 2024) as a study: the gates that the engine's policy 19-duoattention runs by.
#include <algorithm>
#include <functional>
#include <numeric>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/progress.h"
#include "espalier/engine/text_quality.h"
#include "espalier/families/output.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/training/duo_gates.h"
#include "espalier/structure/head_order.h"

namespace espalier::duo_gates_study {
namespace {

constexpr int64_t kMost = int64_t{1} << 20;
constexpr int64_t kShortContext = 2048;  // models up to it get the small preset

// The paper's sizes, and smaller ones for models with a short context.
struct Preset {
  int64_t keys, words, shortest, longest, sink, recent, steps;
};
constexpr Preset kPaper = {10, 32, 1000, 32000, 128, 256, 2000}, kSmall = {4, 4, 256, 512, 4, 16, 200};

struct Settings {
  PasskeyOptions texts;
  DuoTraining training;
};

Settings settings_of(const StudyJob& job) {
  const int64_t context = job.model().context_length;
  const std::string name = job.text("preset");
  if (name != "auto" && name != "paper" && name != "small") throw UserError("study duo-gates", "preset", "auto, paper or small", printable(name));
  const Preset& preset = name == "paper" || (name == "auto" && context > kShortContext) ? kPaper : kSmall;
  const auto pick = [&](const char* option, int64_t otherwise, int64_t least, int64_t most) {
    return job.has(option) ? job.integer(option, least, most) : std::min(otherwise, most);
  };
  Settings s;
  s.texts.multiple = std::min<int64_t>(16, context);
  const int64_t whole = context / s.texts.multiple * s.texts.multiple;
  s.texts.keys = pick("keys", preset.keys, 1, 1000);
  s.texts.words = pick("words", preset.words, 1, 1000);
  s.texts.longest = pick("longest", preset.longest, 16, whole);
  s.texts.shortest = pick("shortest", preset.shortest, 16, s.texts.longest);
  s.training.sink = pick("sink", preset.sink, 0, kMost);
  s.training.recent = pick("recent", preset.recent, 1, kMost);
  s.training.steps = pick("steps", preset.steps, 1, kMost);
  s.training.lr = job.real("lr", 0, 10);
  s.training.lambda = job.real("lambda", 0, 1000);
  const std::string full = job.text("full_branch");
  if (full != "teacher" && full != "student") throw UserError("study duo-gates", "full_branch", "teacher or student", printable(full));
  s.training.full_from_teacher = full == "teacher";
  return s;
}

std::string tsv_of(const HeadGates& alpha) {
  std::string text;
  for (const auto& row : alpha) text += fmt::format("{}\n", fmt::join(row, "\t"));
  return text;
}

bool flag(const StudyJob& job, const std::string& name) {
  const std::string given = job.text(name);
  if (given != "true" && given != "false") throw UserError("study duo-gates", name, "true or false", printable(given));
  return given == "true";
}

// The model with the KV heads of each layer by falling gates, of equal ones the first: whatever the sparsity, heads that keep
// everything come before those that stream.
void write_reordered(const Model& source, DuoGates gates, const std::filesystem::path& directory) {
  Model model = load_model(source.path);
  const Coupling coupling = find_coupling(model.graph);
  size_t layer = 0;
  for (const Node& node : source.graph.nodes) {
    if (node.op != "Attention") continue;
    auto& alpha = gates.alpha[layer++];
    const auto heads = std::find_if(coupling.groups.begin(), coupling.groups.end(), [&](const auto& g) { return g.kind == GroupKind::kHeads && g.block == node.block; });
    if (heads == coupling.groups.end() || heads->set_count != static_cast<int64_t>(alpha.size()))
      throw UserError("study duo-gates", "reordered", "KV heads that can be moved", "none in " + node.name);
    std::vector<int64_t> order(alpha.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return alpha[static_cast<size_t>(a)] > alpha[static_cast<size_t>(b)]; });
    reorder_heads(model.graph, *heads, order);
    std::stable_sort(alpha.begin(), alpha.end(), std::greater<>());
  }
  std::filesystem::create_directories(directory);
  write_model(model, directory);
  write_file_atomically(directory / kDuoGatesFile, duo_gates_to_json(gates).dump(1) + "\n");
}

Json run(StudyJob& job) {
  const Model& model = job.model();
  if (model.task != Task::kText) user_error("{}: DuoAttention is for language models", model.path.string());
  const Settings s = settings_of(job);
  const bool beside = flag(job, "beside"), reorder = flag(job, "reordered");
  PasskeyMaker texts(Tokenizer::load(model.path), tokens_of(resolve_data(job.data().empty() ? "calibration.txt" : job.data()), model, 0), s.texts, job.seed());
  Progress progress("optimising gates", s.training.steps, "step");
  Json losses = Json::array();
  DuoGates gates = train_duo_gates(model, [&] { return texts.next(); }, s.training, [&](const DuoReport& report) {
    losses.push_back({report.step, report.distillation, report.penalty, report.distillation + s.training.lambda * report.penalty});
    progress.advance(report.step - (losses.size() > 1 ? losses[losses.size() - 2][0].get<int64_t>() : 0));
    progress.note(fmt::format("distillation {:.3g}, mean gate {:.3f}", report.distillation, report.penalty));
  });
  gates.sink = s.training.sink, gates.recent = s.training.recent;
  const std::string file = duo_gates_to_json(gates).dump(1) + "\n";
  write_file_atomically(job.out() / kDuoGatesFile, file);
  write_file_atomically(job.out() / "duo-gates.tsv", tsv_of(gates.alpha));
  if (beside) write_file_atomically(model.directory() / kDuoGatesFile, file);
  if (reorder) write_reordered(model, gates, job.out() / "model");
  Json rows = Json::array();
  int64_t above = 0, all = 0;
  for (size_t l = 0; l < gates.alpha.size(); ++l)
    for (size_t g = 0; g < gates.alpha[l].size(); ++g, ++all) {
      rows.push_back({l, g, gates.alpha[l][g]});
      above += gates.alpha[l][g] > 0.5f;
    }
  return {{"tables",
           {{"gates", {{"columns", {"layer", "kv_head", "gate"}}, {"rows", rows}}},
            {"losses", {{"columns", {"step", "distillation", "mean_gate", "loss"}}, {"rows", losses}}}}},
          {"figures", Json::array()},
          {"files", {kDuoGatesFile, "duo-gates.tsv"}},
          {"summary", fmt::format("{} of {} gates above 0.5; loss {:.4g} at the start, {:.4g} at the end", above, all, losses.front()[3].get<double>(),
                                  losses.back()[3].get<double>())}};
}

const RegisterStudy registered({"duo-gates",
                                "how much each KV head needs of the whole context: gates for --policy 19-duoattention",
                                {{"preset", "text", "auto", "auto, paper, small", "sizes that are not given; auto: small for contexts up to 2048"},
                                 {"steps", "int", "", "1 …", "texts to learn from (2000; small: 200)"},
                                 {"keys", "int", "", "1 … 1000", "keys hidden in a text (10; 4)"},
                                 {"words", "int", "", "1 … 1000", "words of a key (32; 4)"},
                                 {"shortest", "int", "", "16 … longest", "tokens of the shortest text (1000; 256)"},
                                 {"longest", "int", "", "16 … context", "tokens of the longest (32000, small 512; at most the context)"},
                                 {"sink", "int", "", "0 …", "first tokens that streaming attention sees (128; 4)"},
                                 {"recent", "int", "", "1 …", "last tokens (256; 16)"},
                                 {"lr", "real", "0.02", "0 … 10", "learning rate of AdamW"},
                                 {"lambda", "real", "0.05", "0 … 1000", "weight of the mean gate in the loss"},
                                 {"full_branch", "text", "teacher", "teacher, student", "where the mixture's full attention comes from"},
                                 {"reordered", "flag", "false", "true, false", "write OUT/model too: the KV heads of each layer by falling gates, which lie beside it"},
                                 {"beside", "flag", "false", "true, false", "write duo-gates.json beside the model too"}},
                                run});

}  // namespace
}  // namespace espalier::duo_gates_study
