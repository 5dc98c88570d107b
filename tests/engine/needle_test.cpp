#include <algorithm>

#include "espalier/core/assets.h"
#include "espalier/engine/language_eval.h"
#include "espalier/engine/needle_text.h"
#include "espalier/engine/open.h"
#include "espalier/engine/text_quality.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

constexpr const char* kModel = "espalier-tiny";

struct Texts {
  std::unique_ptr<Decoder> decoder = open_decoder(kModel, {}, {});
  std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::load(decoder->model().path);
  std::vector<int32_t> haystack = tokens_of(resolve_data("evaluation.txt"), decoder->model(), 0);
  NeedleMaker maker(uint64_t seed) const { return {tokenizer, haystack, seed, "needle"}; }
};

std::string piece(const Texts& texts, const NeedleText& text, const NeedleText::Range& range) {
  return texts.tokenizer->decode(std::span(text.ids).subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.end - range.begin)));
}

TEST(NeedleText, HidesEveryAnswerOnceAtItsDepth) {
  const Texts texts;
  NeedleMaker maker = texts.maker(3);
  const std::vector<double> depths = {0.1, 0.5, 0.9};
  const NeedleText text = maker.make(600, depths);
  EXPECT_EQ(text.ids.size(), 600u);
  ASSERT_EQ(text.answers.size(), 3u);
  EXPECT_EQ(text.answers.back().end, 600);
  const int64_t fixed = [&] {  // what is no running text lies in the needles and behind the last of it
    int64_t sum = 0;
    for (const auto& needle : text.needles) sum += needle.end - needle.begin;
    return sum;
  }();
  std::set<size_t> asked(text.asked.begin(), text.asked.end());
  EXPECT_EQ(asked.size(), 3u);
  for (size_t a = 0; a < 3; ++a) {
    const std::string number = piece(texts, text, text.answers[a]), needle = piece(texts, text, text.needles[text.asked[a]]);
    EXPECT_EQ(number.size(), 6u) << number;  // a blank and five digits
    EXPECT_NE(needle.find(number + "."), std::string::npos) << needle << number;
  }
  const double room = static_cast<double>(text.needles[2].begin - (fixed - (text.needles[2].end - text.needles[2].begin))) / 0.9;
  EXPECT_NEAR(static_cast<double>(text.needles[0].begin) / room, 0.1, 0.01);
}

TEST(NeedleText, WantsRoomForAFewTokens) {
  const Texts texts;
  NeedleMaker maker = texts.maker(0);
  ESP_EXPECT_USER_ERROR(maker.make(30, std::vector{0.5}), "--length");
  ESP_EXPECT_USER_ERROR(NeedleMaker(texts.tokenizer, {}, 0, "needle"), "empty");
}

// Against one pass over each whole text: what is decoded step by step must judge the same tokens by the same logits.
TEST(Needle, CountsTheTokensThatOneDensePassFinds) {
  const Texts texts;
  EvalRequest request;
  request.model = kModel, request.metric = "needle", request.length = 200, request.depths = 3, request.limit = 2, request.needles = 2;
  request.common.seed = 5;
  const Json found = evaluate_language(*texts.decoder, request);
  NeedleMaker maker = texts.maker(5);
  const int64_t vocab = texts.decoder->vocab_size();
  std::vector<float> logits(static_cast<size_t>(200 * vocab));
  int64_t right = 0, all = 0;
  for (int i = 0; i < 6; ++i) {
    const NeedleText text = maker.make(200, maker.spread(2));
    const auto sequence = texts.decoder->start({}, 200);
    const ForwardWork work{sequence.get(), text.ids, logits.data(), true};
    texts.decoder->forward({&work, 1});
    for (const auto& [begin, end] : text.answers)
      for (int64_t t = begin; t < end; ++t, ++all) {
        const float* row = logits.data() + (t - 1) * vocab;
        right += std::max_element(row, row + vocab) - row == text.ids[static_cast<size_t>(t)];
      }
  }
  EXPECT_EQ(found.at("trials"), 12);
  EXPECT_DOUBLE_EQ(found.at("token_accuracy").get<double>(), static_cast<double>(right) / static_cast<double>(all));
  int64_t trials = 0;
  for (const Json& cell : found.at("cells")) trials += cell.at("trials").get<int64_t>();
  EXPECT_EQ(trials, 12);
  EXPECT_TRUE(found.contains("all_found"));
}

}  // namespace
}  // namespace espalier::test
