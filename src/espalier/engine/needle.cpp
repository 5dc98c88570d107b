#include "espalier/engine/needle.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/needle_text.h"
#include "espalier/engine/open.h"
#include "espalier/engine/text_quality.h"
#include "espalier/io/text_dataset.h"
#include "espalier/io/tokenizer.h"

namespace espalier {
namespace {

constexpr int64_t kShortest = 256, kTexts = 4;

struct Tally {
  int64_t trials = 0, exact = 0, tokens = 0, right = 0;
  void add(int64_t found, int64_t all) { ++trials, exact += found == all, tokens += all, right += found; }
  double share() const { return static_cast<double>(exact) / static_cast<double>(trials); }
  double token_share() const { return static_cast<double>(right) / static_cast<double>(tokens); }
};

// For each answer, how many of its tokens are the most probable ones, the right ones preceding them: with all of them
// the greedy answer is exact. An answer is decoded token by token; what precedes it goes through in one piece.
std::vector<int64_t> right_tokens(Decoder& decoder, const EvalRequest& request, const NeedleText& text, std::vector<float>& logits) {
  const auto sequence = decoder.start(attention_request(request.common, request.engine), static_cast<int64_t>(text.ids.size()));
  std::vector<int64_t> right;
  const std::span<const int32_t> ids = text.ids;
  size_t fed = 0;
  for (const auto& [begin, end] : text.answers) {
    int64_t found = 0;
    for (auto t = static_cast<size_t>(begin); t < static_cast<size_t>(end); ++t) {
      const ForwardWork work{sequence.get(), ids.subspan(fed, t - fed), logits.data(), false};
      decoder.forward({&work, 1});
      fed = t;
      found += std::max_element(logits.begin(), logits.end()) - logits.begin() == ids[t];
    }
    right.push_back(found);
  }
  return right;
}

std::vector<int64_t> lengths_of(const Decoder& decoder, const EvalRequest& request) {
  const int64_t context = decoder.context_length();
  const auto beyond = [&] { return decoder.start(attention_request(request.common, request.engine), request.length)->policy().needs().any_length; };
  if (request.length > context && !beyond()) throw UserError("--length", "tokens", fmt::format("at most the model's context {}", context), fmt::format("{}", request.length));
  if (request.length > 0) return {request.length};
  std::vector<int64_t> lengths;
  for (int64_t length = std::min(kShortest, context); length <= context; length *= 2) lengths.push_back(length);
  return lengths;
}

double depth_of(int64_t i, int64_t depths) { return depths == 1 ? 0.5 : static_cast<double>(i) / static_cast<double>(depths - 1); }

size_t nearest(double depth, int64_t depths) { return static_cast<size_t>(std::lround(depth * static_cast<double>(depths - 1))); }

}  // namespace

Json needle_retrieval(Decoder& decoder, const EvalRequest& request) {
  const auto data = resolve_data(request.data.empty() ? "evaluation.txt" : request.data);
  NeedleMaker maker(Tokenizer::load(decoder.model().path), tokens_of(data, decoder.model(), 0), request.common.seed, "needle");
  std::vector<float> logits(static_cast<size_t>(decoder.vocab_size()));
  const auto lengths = lengths_of(decoder, request);
  const int64_t texts = request.limit > 0 ? request.limit : kTexts;
  Progress progress("needles", static_cast<int64_t>(lengths.size()) * request.depths * texts, "text");
  Json cells = Json::array();
  Tally all;
  int64_t whole = 0;
  for (int64_t length : lengths) {
    std::vector<Tally> row(static_cast<size_t>(request.depths));
    for (int64_t i = 0; i < request.depths * texts; ++i) {
      check_interrupted();
      const auto depths = request.needles == 1 ? std::vector{depth_of(i / texts, request.depths)} : maker.spread(request.needles);
      const NeedleText text = maker.make(length, depths);
      const auto right = right_tokens(decoder, request, text, logits);
      bool every = true;
      for (size_t a = 0; a < right.size(); ++a) {
        const int64_t tokens = text.answers[a].end - text.answers[a].begin;
        for (Tally* tally : {&row[nearest(depths[text.asked[a]], request.depths)], &all}) tally->add(right[a], tokens);
        every = every && right[a] == tokens;
      }
      whole += every;
      progress.advance(1);
    }
    for (int64_t d = 0; d < request.depths; ++d) {
      const Tally& cell = row[static_cast<size_t>(d)];
      if (cell.trials > 0)
        cells.push_back({{"length", length}, {"depth", depth_of(d, request.depths)}, {"trials", cell.trials}, {"exact", cell.share()}, {"token_accuracy", cell.token_share()}});
    }
  }
  const Estimate exact = share(all.exact, all.trials);
  Json result = {{"metric", "needle"},
                 {"value", exact.value},
                 {"ci95", {exact.low, exact.high}},
                 {"trials", all.trials},
                 {"needles", request.needles},
                 {"token_accuracy", all.token_share()},
                 {"data", {{"path", data.string()}, {"sha256", text_sha256(data)}}},
                 {"cells", cells}};
  if (request.needles > 1) result["all_found"] = static_cast<double>(whole) / static_cast<double>(static_cast<int64_t>(lengths.size()) * request.depths * texts);
  return result;
}

}  // namespace espalier
