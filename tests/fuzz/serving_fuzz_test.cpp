// Templates, HTTP requests and bodies of the interface, damaged at random.
#include "tests/fuzz/serving_fuzz.h"

#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

// Good ones are taken; of damaged ones some are and some are not, and nothing but UserError escapes.
void damage(Target target, const std::vector<std::string>& seeds, const char* stream, int rounds) {
  for (const auto& seed : seeds) EXPECT_TRUE(run(target, seed)) << seed;
  Rng rng(1, stream);
  int accepted = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string bytes = damaged(seeds, rng);
    ASSERT_NO_THROW(accepted += run(target, bytes)) << bytes;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, rounds);
}

TEST(ServingFuzz, ChatTemplates) {
  std::vector<std::string> seeds;
  const Json cases = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/engine/data/chat_templates.json");
  for (const Json& one : cases)
    if (const auto source = one.at("template").get<std::string>(); run(fuzz_chat_template, source)) seeds.push_back(source);
  EXPECT_GT(seeds.size(), 30u);
  damage(fuzz_chat_template, seeds, "chat templates", 10000);
}

TEST(ServingFuzz, HttpRequests) {
  damage(fuzz_http_request,
         {"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
          "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\nGET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
         "http", 20000);
}

TEST(ServingFuzz, Bodies) {
  damage(fuzz_api_request,
         {std::string("\0", 1) + R"({"model":"m","prompt":"Hello","max_tokens":5,"temperature":0.5,"top_p":0.9,"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"seed":-1})",
          std::string("\0", 1) + R"({"prompt":[1,2,3],"n":1,"logit_bias":{},"policy":"dense","policy_options":{"a":1,"b":"c"},"budget":5,"cache":"int8"})",
          std::string("\1", 1) + R"({"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":null}],"max_completion_tokens":3,"response_format":{"type":"text"}})"},
         "bodies", 20000);
}

}  // namespace
}  // namespace espalier::fuzz
