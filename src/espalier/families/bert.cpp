// BERT (Devlin et al., 2019) and DistilBERT (Sanh et al., 2019) under Hugging Face's names: token ids → hidden states,
// and before them the logits of whatever head the checkpoint has. All tokens are of type 0 and none is masked.
//   outputs, in order, those that there are: class logits [n, classes]; token logits [n, tokens, vocabulary]; without
//   either hidden states [n, tokens, width]; sentence relation [n, 2], or the pooled first token [n, width] that no
//   head reads
// Configuration: Hugging Face's keys. Fresh models have a head that predicts tokens, and no pooler, if
// architectures names one for masked language modelling; else a classifier if num_labels or id2label is stated.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/encoder_block.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_config.h"

namespace espalier::bert_family {
namespace {

constexpr int64_t kExampleTokens = 128;

struct BertNames {
  std::string prefix, embeddings, pooler;
  EncoderNames encoder;
  std::string transform, transform_norm, decoder, decoder_bias, relation;  // of heads
  std::string pre_classifier;
  EncoderKeys keys;
  std::string hidden_key, activation_key;
};

BertNames bert_names(const std::string& prefix) {
  BertNames n;
  n.prefix = prefix;
  n.embeddings = prefix + "embeddings.";
  n.pooler = prefix + "pooler.dense";
  n.encoder = {prefix + "encoder.layer.{}.",
               "attention.output.LayerNorm",
               "attention.self.query",
               "attention.self.key",
               "attention.self.value",
               "",
               "",
               "attention.output.dense",
               "output.LayerNorm",
               "intermediate.dense",
               "output.dense",
               false};
  n.transform = "cls.predictions.transform.dense";
  n.transform_norm = "cls.predictions.transform.LayerNorm";
  n.decoder = "cls.predictions.decoder";
  n.decoder_bias = "cls.predictions.bias";
  n.relation = "cls.seq_relationship";
  n.hidden_key = "hidden_size";
  n.activation_key = "hidden_act";
  return n;
}

BertNames distilbert_names(const std::string& prefix) {
  BertNames n;
  n.prefix = prefix;
  n.embeddings = prefix + "embeddings.";
  n.encoder = {prefix + "transformer.layer.{}.",
               "sa_layer_norm",
               "attention.q_lin",
               "attention.k_lin",
               "attention.v_lin",
               "",
               "",
               "attention.out_lin",
               "output_layer_norm",
               "ffn.lin1",
               "ffn.lin2",
               false};
  n.transform = "vocab_transform";
  n.transform_norm = "vocab_layer_norm";
  n.decoder = "vocab_projector";
  n.decoder_bias = "vocab_projector.bias";
  n.pre_classifier = "pre_classifier";
  n.keys = {"n_layers", "n_heads", "hidden_dim", 6};
  n.hidden_key = "dim";
  n.activation_key = "activation";
  return n;
}

struct BertFacts {
  BertNames names;
  EncoderFacts encoder;
  int64_t hidden = 0, vocab = 0, positions = 0, types = 0, classes = 0;
  bool classified = false, predicts_tokens = false;  // the latter of fresh models
};

BertNames names_for(const std::string& type, const WeightSource& source) {
  const bool distilled = type == "distilbert";
  const std::string prefix = type + ".";
  const bool prefixed = source.has(prefix + "embeddings.word_embeddings.weight", true);
  return distilled ? distilbert_names(prefixed ? prefix : "") : bert_names(prefixed ? prefix : "");
}

bool names_masked_language_model(const Json& config) {
  const auto named = config.find("architectures");
  return named != config.end() && named->is_array() && std::any_of(named->begin(), named->end(), [](const Json& name) {
           return name.is_string() && name.get<std::string>().ends_with("ForMaskedLM");
         });
}

BertFacts read_facts(const Json& config, const WeightSource& source) {
  const std::string& where = source.where();
  const std::string type = json_string(config, "model_type", where);
  BertFacts facts;
  facts.names = names_for(type, source);
  facts.hidden = json_int_or(config, facts.names.hidden_key, where, 1, 1 << 20, 768);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  facts.positions = json_int_or(config, "max_position_embeddings", where, 1, 1 << 20, 512);
  facts.types = type == "bert" ? json_int_or(config, "type_vocab_size", where, 0, 1 << 16, 2) : 0;
  facts.classes = class_count(config, where, 2);
  facts.predicts_tokens = source.is_fresh() && names_masked_language_model(config);
  facts.classified = source.has("classifier.weight", !facts.predicts_tokens && (config.contains("num_labels") || config.contains("id2label")));
  if (json_string_or(config, "position_embedding_type", where, "absolute") != "absolute")
    throw UserError(where, "position_embedding_type", "absolute", describe(config["position_embedding_type"]));
  if (!json_bool_or(config, "tie_word_embeddings", where, true) && source.has(facts.names.decoder + ".weight"))
    throw UserError(where, "tie_word_embeddings", "true: a decoder with weights of its own is not supported", "false");
  if (json_bool_or(config, "sinusoidal_pos_embds", where, false) && source.is_fresh())
    throw UserError(where, "sinusoidal_pos_embds", "false", "true");
  facts.encoder.names = facts.names.encoder;
  facts.encoder.epsilon = json_number_or(config, "layer_norm_eps", where, 1e-12);
  facts.encoder.activation = activation_kind(json_string_or(config, facts.names.activation_key, where, "gelu"), where);
  read_encoder(facts.encoder, config, facts.names.keys, facts.hidden, source);
  return facts;
}

// Second names of tied tensors.
bool is_ignored(const std::string& tensor) {
  return is_framework_buffer(tensor) || tensor == "embeddings.position_ids" ||
         tensor == "cls.predictions.decoder.weight" || tensor == "cls.predictions.decoder.bias" ||
         tensor == "vocab_projector.weight";
}

class Bert {
 public:
  Bert(WeightSource source, const BertFacts& facts) : b_(std::move(source)), facts_(facts), names_(facts.names) {
    b_.use_truncated_normal(0.02);
  }

  Graph build() {
    const ValueId x = encoder_blocks(b_, facts_.encoder, embeddings());
    const auto layers = static_cast<int>(facts_.encoder.layers);
    return b_.finish(outputs(x), layers, is_ignored);
  }

 private:
  ValueId embeddings() {
    const ValueId ids = b_.token_ids(std::min(facts_.positions, kExampleTokens));
    const std::string& at = names_.embeddings;
    ValueId x = b_.embedding(at + "word_embeddings", ids, facts_.vocab, free_width(facts_.hidden));
    const int64_t width = b_.width(x);
    if (facts_.types > 0) {
      const ValueId types = b_.constant(at + "token_type_embeddings.weight", {facts_.types, width}, {0});
      x = b_.add(at + "typed", x, b_.pick(at + "type", types, 0, 0));
    }
    x = b_.add(at + "placed", x, b_.position_embedding(at + "position_embeddings", ids, facts_.positions, width));
    return b_.layer_norm(at + "LayerNorm", x, facts_.encoder.epsilon);
  }

  bool has_module(const std::string& name) { return !name.empty() && b_.source().has(name + ".weight"); }

  std::vector<ValueId> outputs(ValueId x) {
    std::vector<ValueId> found;
    const bool pools = !names_.pooler.empty() && b_.source().has(names_.pooler + ".weight", !facts_.predicts_tokens);
    ValueId pooled = x;
    if (pools || facts_.classified || has_module(names_.relation)) pooled = b_.pick("first_token", x, 1, 0);
    if (pools) pooled = b_.activation("pooled", b_.linear(names_.pooler, pooled, free_width(facts_.hidden)), "tanh");
    if (facts_.classified) found.push_back(class_logits(pooled));
    if (b_.source().has(names_.transform + ".weight", facts_.predicts_tokens)) found.push_back(token_logits(x));
    if (found.empty()) found.push_back(x);
    if (has_module(names_.relation)) {
      found.push_back(b_.linear(names_.relation, pooled, free_width(2)));
    } else if (pools && !facts_.classified) {
      found.push_back(pooled);
    }
    return found;
  }

  ValueId class_logits(ValueId pooled) {
    if (!names_.pre_classifier.empty())
      pooled = b_.relu("pre_classifier.act", b_.linear(names_.pre_classifier, pooled, free_width(facts_.hidden)));
    return b_.linear("classifier", pooled, free_width(facts_.classes));
  }

  ValueId token_logits(ValueId x) {
    ValueId y = b_.linear(names_.transform, x, exactly(b_.width(x)));
    y = b_.activation("transformed", y, facts_.encoder.activation);
    y = b_.layer_norm(names_.transform_norm, y, facts_.encoder.epsilon);
    return b_.tied_linear(names_.decoder, y, names_.embeddings + "word_embeddings.weight", names_.decoder_bias);
  }

  VisionBuilder b_;
  const BertFacts& facts_;
  const BertNames& names_;
};

Graph build_from(const WeightSource& source, const Json& config) {
  const BertFacts facts = read_facts(config, source);
  return Bert(source, facts).build();
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  return build_from(WeightSource(checkpoint, config, where), config);
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  return build_from(WeightSource(seed, config, where), config);
}

BertNames names_of(const Graph& graph) {
  for (const BertNames& names :
       {bert_names("bert."), bert_names(""), distilbert_names("distilbert."), distilbert_names("")}) {
    const std::string block = block_name(names.encoder.block, 0) + names.encoder.norm1;
    if (graph.has_parameter(names.embeddings + "word_embeddings.weight") &&
        (graph.block_count == 0 || graph.has_parameter(block + ".weight") || graph.has_parameter(block + ".gamma")))
      return names;
  }
  bug(__FILE__, __LINE__, "a BERT of no known names");
}

void write_config(Json& config, const Graph& graph) {
  const BertNames names = names_of(graph);
  const int64_t hidden = graph.parameter(names.embeddings + "word_embeddings.weight").shape().at(1);
  write_widths(config, graph, {names.keys.layers, names.keys.heads, "", "", names.keys.ffn, names.hidden_key}, hidden);
}

const RegisterFamily registered({"bert",
                                 {"bert", "distilbert"},
                                 build,
                                 write_config,
                                 [](const Graph& graph) { return names_of(graph).encoder.block; },
                                 Task::kOther,
                                 nullptr,
                                 fresh});

}  // namespace
}  // namespace espalier::bert_family
