#include "espalier.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support.h"

namespace espalier::c_api_test {
namespace {

struct FreeModel {
  void operator()(espalier_model* model) const { espalier_model_free(model); }
};
struct FreeContext {
  void operator()(espalier_context* context) const { espalier_context_free(context); }
};
using Model = std::unique_ptr<espalier_model, FreeModel>;
using Context = std::unique_ptr<espalier_context, FreeContext>;

Model load() {
  espalier_model_options options = espalier_default_model_options();
  options.threads = 1;
  return Model(espalier_model_load((test::assets_dir() / "models/espalier-tiny").c_str(), &options));
}

bool append(const char* text, size_t bytes, void* user) {
  static_cast<std::string*>(user)->append(text, bytes);
  return true;
}

std::vector<int32_t> ids_of(const Model& model, const std::string& text) {
  std::vector<int32_t> ids(static_cast<size_t>(espalier_tokenize(model.get(), text.data(), text.size(), true, nullptr, 0)));
  EXPECT_EQ(espalier_tokenize(model.get(), text.data(), text.size(), true, ids.data(), static_cast<int64_t>(ids.size())), static_cast<int64_t>(ids.size()));
  return ids;
}

TEST(CApi, TextToTokensAndBack) {
  const Model model = load();
  ASSERT_TRUE(model) << espalier_last_error();
  EXPECT_EQ(espalier_model_vocab_size(model.get()), 2048);
  EXPECT_EQ(espalier_model_context_length(model.get()), 256);
  const std::string text = "The sea was größer.";
  const auto ids = ids_of(model, text);
  std::string back(100, '?');
  back.resize(static_cast<size_t>(espalier_detokenize(model.get(), ids.data(), static_cast<int64_t>(ids.size()), back.data(), 100)));
  EXPECT_EQ(back, text);
  int32_t first[2] = {-1, -1};
  EXPECT_EQ(espalier_tokenize(model.get(), text.data(), text.size(), true, first, 1), static_cast<int64_t>(ids.size()));
  EXPECT_EQ(first[0], ids[0]);
  EXPECT_EQ(first[1], -1);
  EXPECT_TRUE(espalier_is_stop_token(model.get(), 0));
  EXPECT_FALSE(espalier_is_stop_token(model.get(), ids.back()));
  EXPECT_EQ(espalier_tokenize(model.get(), "\xff", 1, true, nullptr, 0), ESPALIER_ERROR_INPUT);
}

// Greedy text by hand, from the logits of single steps, is what espalier_generate writes.
TEST(CApi, StepsGiveWhatGenerateWrites) {
  const Model model = load();
  ASSERT_TRUE(model) << espalier_last_error();
  const std::string prompt = "Once upon a time";
  constexpr int64_t kTokens = 20;
  std::string written;
  espalier_generate_options options = espalier_default_generate_options();
  options.max_tokens = kTokens;
  EXPECT_EQ(espalier_generate(model.get(), prompt.c_str(), &options, nullptr, append, &written), kTokens) << espalier_last_error();

  const Context context(espalier_context_new(model.get(), nullptr));
  ASSERT_TRUE(context) << espalier_last_error();
  std::vector<float> logits(2048);
  std::vector<int32_t> fed = ids_of(model, prompt), made;
  const auto length = static_cast<int64_t>(fed.size());
  for (int64_t i = 0; i < kTokens; ++i) {
    ASSERT_EQ(espalier_context_step(context.get(), fed.data(), static_cast<int64_t>(fed.size()), logits.data()), ESPALIER_OK);
    made.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    fed = {made.back()};
  }
  EXPECT_EQ(espalier_context_length(context.get()), length + kTokens - 1);
  std::string text(1000, '?');
  text.resize(static_cast<size_t>(espalier_detokenize(model.get(), made.data(), kTokens, text.data(), 1000)));
  EXPECT_EQ(written, text);
}

TEST(CApi, StopsCallbacksAndPolicies) {
  const Model model = load();
  ASSERT_TRUE(model) << espalier_last_error();
  espalier_generate_options options = espalier_default_generate_options();
  std::string whole, cut;
  options.max_tokens = 30;
  ASSERT_EQ(espalier_generate(model.get(), "Once upon a time", &options, nullptr, append, &whole), 30);
  const std::string stop = whole.substr(whole.size() / 2, 4);
  const char* const stops[] = {stop.c_str(), nullptr};
  options.stop = stops;
  EXPECT_GT(espalier_generate(model.get(), "Once upon a time", &options, nullptr, append, &cut), 0);
  EXPECT_EQ(cut, whole.substr(0, whole.find(stop)));
  options.stop = nullptr;
  const auto refuse = [](const char*, size_t, void*) { return false; };
  EXPECT_LT(espalier_generate(model.get(), "Once upon a time", &options, nullptr, refuse, nullptr), 4);
  espalier_context_options context = espalier_default_context_options();
  context.policy = "streaming";
  context.policy_options = "budget=16";
  context.cache = "int8";
  EXPECT_EQ(espalier_generate(model.get(), "Once upon a time", &options, &context, nullptr, nullptr), 30) << espalier_last_error();
  context.policy_options = "nothing=1";
  EXPECT_EQ(espalier_generate(model.get(), "Once upon a time", &options, &context, nullptr, nullptr), ESPALIER_ERROR_INPUT);
  EXPECT_NE(std::string(espalier_last_error()).find("nothing"), std::string::npos);
}

TEST(CApi, MistakesAreErrorsWithAMessage) {
  EXPECT_EQ(espalier_model_load("/no/such/model", nullptr), nullptr);
  EXPECT_NE(std::string(espalier_last_error()).find("/no/such/model"), std::string::npos);
  EXPECT_EQ(espalier_model_load(nullptr, nullptr), nullptr);
  std::thread([] { EXPECT_STREQ(espalier_last_error(), ""); }).join();
  const Model model = load();
  ASSERT_TRUE(model);
  espalier_context_options options = espalier_default_context_options();
  options.policy = "nothing";
  EXPECT_EQ(espalier_context_new(model.get(), &options), nullptr);
  EXPECT_NE(std::string(espalier_last_error()).find("nothing"), std::string::npos);
  options = espalier_default_context_options();
  options.capacity = 2;
  const Context context(espalier_context_new(model.get(), &options));
  ASSERT_TRUE(context) << espalier_last_error();
  const int32_t tokens[] = {1, 2, 3}, wrong = 2048;
  EXPECT_EQ(espalier_context_step(context.get(), tokens, 3, nullptr), ESPALIER_ERROR_INPUT);
  EXPECT_EQ(espalier_context_step(context.get(), &wrong, 1, nullptr), ESPALIER_ERROR_INPUT);
  EXPECT_EQ(espalier_context_step(context.get(), tokens, 0, nullptr), ESPALIER_ERROR_INPUT);
  EXPECT_EQ(espalier_context_length(context.get()), 0);
  EXPECT_EQ(espalier_context_step(context.get(), tokens, 2, nullptr), ESPALIER_OK);
  EXPECT_EQ(espalier_generate(model.get(), std::string(100000, 'a').c_str(), nullptr, nullptr, nullptr, nullptr), ESPALIER_ERROR_INPUT);
  EXPECT_STREQ(espalier_version(), ESPALIER_VERSION);
}

TEST(CApi, SeveralThreadsShareAModel) {
  const Model model = load();
  ASSERT_TRUE(model);
  espalier_generate_options options = espalier_default_generate_options();
  options.max_tokens = 10;
  std::string alone;
  espalier_generate(model.get(), "The sea", &options, nullptr, append, &alone);
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (auto& text : texts) threads.emplace_back([&] { espalier_generate(model.get(), "The sea", &options, nullptr, append, &text); });
  for (auto& thread : threads) thread.join();
  for (const auto& text : texts) EXPECT_EQ(text, alone);
}

}  // namespace
}  // namespace espalier::c_api_test
