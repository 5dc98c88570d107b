// What a verb asks for, as plain data: the command line fills these, the laboratory answers them. Every field is
// already checked for its own form (ranges, known words); whether model, method and data fit together is for the
// receiver.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

struct CommonRequest {
  uint64_t seed = 0;
  int threads = 0;             // what --threads said or the machine has: at least 1 when a verb runs
  std::string device = "cpu";  // "cpu" | "cuda"
  std::string dtype = "auto";  // "auto" (the laboratory: fp32; the engine: as stored) | "fp32" | "bf16" | "fp16" | "int8"
  std::map<std::string, std::vector<int64_t>> input_shapes;  // of an ONNX file's inputs, where it leaves sizes open
};

// Names of methods, models, data are as typed: resolve_model() and resolve_data() of core/assets.h turn them into
// paths.
struct CalibrationRequest {
  std::string data;       // "": the embedded sample that suits the model
  int64_t samples = 128;  // sequences or images
  int64_t length = 0;     // tokens a sequence; 0: the model's context length
};

// Options of a method, by name; "repair.NAME" goes to the repair. An unknown name is the receiver's error.
using MethodOptions = std::map<std::string, std::string>;

struct StepRequest {
  std::string method;
  std::optional<double> sparsity;  // share to remove, in [0, 1)
  std::string of;                  // "": the method's own; params | flops | bytes | heads | layers | experts | latency
  std::string pattern;             // "": single weights, as "unstructured"; else "N:M" or "block:1xB"
  std::string repair = "none";     // none | ls | bn | lora | finetune | distill
  MethodOptions options;
};

struct PruneRequest {
  CommonRequest common;
  std::string model;
  std::vector<StepRequest> steps;  // at least one; done in this order
  CalibrationRequest calib;
  std::string eval_data;             // "": none; else quality before and after is measured on it
  std::vector<std::string> protect;  // patterns of nodes that stay untouched
  int64_t align = 8;                 // widths are multiples of this
  bool uniform = false;              // same widths in every block, so that stock loaders read the result
  std::string pack = "none";         // how Linear weights are stored: none, auto, or a form of core/weight_form.h
  std::string out;
  std::string recipe;  // path of the recipe file, "" when the steps came from options
  bool force = false, resume = false, dry_run = false;
};

// Asks what prune would do and cost: memory, disk, time, units; writes nothing. `out` may be empty.
using PlanRequest = PruneRequest;

// How the engine runs a language model.
struct EngineRequest {
  std::string policy;             // "": dense attention; id of an AttentionPolicy
  MethodOptions options;          // of the policy
  std::string cache = "fp32";     // how keys and values are stored: fp32 | bf16 | int8
  int64_t int8_group = 0;         // with --dtype int8: columns that share a scale; 0: a whole row
};

struct EvalRequest {
  CommonRequest common;
  std::string model, data;
  std::string metric;   // "": what suits model and data; ppl | masked_ppl | accuracy | map | needle | vqa | kl
  std::string against;  // "": none; a model whose values are the reference
  int64_t length = 0;   // tokens a window; 0: the model's context length
  int64_t stride = 0;   // 0: windows do not overlap
  int64_t limit = 0;    // tokens or images at most; 0: all
  int64_t batch = 0;    // 0: chosen
  int64_t needles = 1, depths = 5;  // --metric needle: hidden in each text; depths that are told apart
  EngineRequest engine;
};

struct GenerateRequest {
  CommonRequest common;
  EngineRequest engine;
  std::string model, prompt;
  std::string system;      // with chat: what the conversation begins with
  bool chat = false;       // the prompt is a user's message in the checkpoint's chat template
  int64_t max_tokens = 128;
  double temperature = 0;  // 0: always the most probable token
  int64_t top_k = 0;       // 0: no limit
  double top_p = 1, min_p = 0;
  double repetition_penalty = 1;
  std::vector<std::string> stop;  // texts that end the answer; they are not shown
  std::function<void(std::string_view)> on_text;  // called with each new piece of valid UTF-8; may be empty
};

// Load time, prefill and decode speed of a language model, images/s of a vision model.
struct BenchRequest {
  CommonRequest common;
  EngineRequest engine;
  std::string model;
  std::string against;    // "": none; measured in the same run, turn by turn
  int64_t context = 256;  // tokens of the prompt
  int64_t tokens = 32;    // decoded in each round
  int64_t batch = 1;      // sequences or pictures at a time
  int64_t rounds = 5;
};

struct MethodsRequest {
  std::string id;            // "": all
  std::string kind, family;  // filters; "": any
};

struct ReproduceRequest {
  CommonRequest common;
  std::vector<std::string> ids;  // empty: all
  std::string out;               // "": nothing is written
  bool force = false, resume = false;
};

// Several methods at several sparsities, under one protocol.
struct CompareRequest {
  CommonRequest common;
  std::string model, data;
  std::vector<StepRequest> arms;  // methods with their options and repair; each runs at every sparsity
  std::vector<double> sparsities;
  CalibrationRequest calib;
  int64_t limit = 0;   // tokens or images at most; 0: all
  int64_t align = 8;   // widths are multiples of this
  std::string out;     // "": only the table
  bool force = false, resume = false;
};

// Several attention policies, each limited to the same numbers of keys.
struct PolicyCompareRequest {
  CommonRequest common;
  EngineRequest engine;  // how weights and cache are stored
  std::string model, data;
  std::vector<EngineRequest> arms;
  std::vector<int64_t> budgets;     // keys that a query may attend to, ascending
  int64_t length = 0;               // tokens of windows, of needle texts and of the timed prompt; 0: the model's context
  int64_t limit = 0;                // tokens of which perplexity is measured; 0: all
  int64_t texts = 4;                // with needles, of each depth
  int64_t needles = 1, depths = 5;
  std::string out;                  // "": only the table
  bool force = false, resume = false;
};

// A study: findings about a model.
struct AnalyzeRequest {
  CommonRequest common;
  std::string study, model;
  std::string data;       // "": the embedded sample that suits the model
  MethodOptions options;  // of the study
  std::string out;
  bool force = false;
};

// A training, with pruning during it.
struct TrainRequest {
  CommonRequest common;
  std::string model;
  bool fresh = false;                // begin with initial weights instead of the model's
  std::string data, eval_data;       // "": the embedded samples that suit the model
  std::vector<StepRequest> methods;  // of kind Plugin, run together; may be empty
  MethodOptions training;            // "epochs", "lr", …: docs/training.md lists them
  std::string masks;                 // "": none; a mask file, or a model with masks beside it: kept all the time
  std::string teacher;               // "": none; a model whose outputs are distilled
  std::string control;               // "": none; scratch-e, scratch-b, finetune: what a pruned model is compared with
  std::string dense;                 // with control: the model that was pruned
  MethodOptions control_options;     // of the control
  std::string out, recipe;
  bool force = false, resume = false;
};

struct RunsRequest {
  std::string action = "list";     // list | show | diff
  std::vector<std::string> runs;   // ids, or paths of results
  int64_t limit = 20;              // list: the newest
};

// Curves and tables of finished runs as one HTML file.
struct ReportRequest {
  std::vector<std::string> runs;
  std::string out;
  bool force = false;
};

struct InspectRequest {
  CommonRequest common;
  std::string model;
  bool layers = false;  // print every node with weights
  bool groups = false;  // print every coupling group with its members
};

struct ConvertRequest {
  CommonRequest common;
  std::string model;
  std::string to;  // hf | onnx | gguf
  std::string out;
  std::string pack = "none";  // as PruneRequest's
  bool force = false;
};

}  // namespace espalier
