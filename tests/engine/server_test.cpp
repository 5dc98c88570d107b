#include "espalier/engine/server/server.h"

#include <atomic>
#include <thread>

#include "tests/engine/scripted_backend.h"
#include "tests/http_client.h"
#include "tests/support.h"

namespace espalier::server_test {
namespace {

using test::http_ask;
using test::http_get;
using test::http_post;
using test::HttpAnswer;
using test::HttpConnection;
using test::ScriptedModel;
using namespace std::chrono_literals;

constexpr int64_t kVocab = 2048, kContext = 4000;
const std::string kText = "Once there was a größer dragon 🐉 who \"slept\".";

std::shared_ptr<const Tokenizer> tokenizer() {
  static const auto loaded = Tokenizer::load(test::assets_dir() / "models/espalier-tiny");
  return loaded;
}

// Says kText and ends; after a prompt whose first id is 777 it never ends.
int32_t next_id(const ScriptedModel::Sequence& tokens) {
  static const std::vector<int32_t> ids = tokenizer()->encode(kText, false);
  if (tokens[0] == 777) return static_cast<int32_t>(300 + tokens.size() % 1000);
  size_t said = 0;  // how much of the text stands at the end already
  for (size_t n = std::min(ids.size(), tokens.size()); n > 0 && said == 0; --n)
    if (std::equal(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n), tokens.end() - static_cast<ptrdiff_t>(n))) said = n;
  return said == ids.size() ? *tokenizer()->eos_id() : ids[said];
}

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}, const std::string& chat = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>") {
    options.model = "scripted";
    std::optional<ChatTemplate> made;
    if (!chat.empty()) made.emplace(chat, "template");
    server = std::make_unique<Server>(model.backend(), tokenizer(), std::move(made), options);
  }

  HttpAnswer post(const std::string& path, const Json& body) { return http_ask(server->port(), http_post(path, body.dump())); }
  HttpAnswer complete(Json body) { return post("/v1/completions", body); }

  ScriptedModel model{next_id, kVocab, kContext};
  std::unique_ptr<Server> server;
};

const Json kEndless = {{"prompt", {777}}, {"max_tokens", 3900}, {"temperature", 0}};

Json parsed(const HttpAnswer& answer) { return parse_json(answer.body, "answer"); }

void expect_error(const HttpAnswer& answer, int status, const std::string& fragment, const Json& param = nullptr) {
  EXPECT_EQ(answer.status, status) << answer.body;
  const Json error = parsed(answer).at("error");
  EXPECT_NE(error.at("message").get<std::string>().find(fragment), std::string::npos) << answer.body;
  if (!param.is_null()) {
    EXPECT_EQ(error.at("param"), param);
  }
  EXPECT_EQ(error.at("type"), status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error");
  EXPECT_TRUE(error.contains("code"));
}

// The JSON of each event; the last one has to be [DONE].
std::vector<Json> events(const HttpAnswer& answer) {
  std::vector<Json> all;
  std::string_view rest = answer.body;
  while (!rest.empty()) {
    const size_t end = rest.find("\n\n");
    EXPECT_TRUE(rest.starts_with("data: ") && end != std::string_view::npos) << rest;
    if (end == std::string_view::npos) break;
    const std::string_view data = rest.substr(6, end - 6);
    rest.remove_prefix(end + 2);
    if (data == "[DONE]") {
      EXPECT_TRUE(rest.empty());
      return all;
    }
    all.push_back(parse_json(data, "event"));
  }
  ADD_FAILURE() << "no [DONE]";
  return all;
}

TEST_F(ServerTest, Completes) {
  start();
  const HttpAnswer answer = complete({{"model", "scripted"}, {"prompt", "Hello"}, {"max_tokens", 200}, {"temperature", 0}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json body = parsed(answer);
  EXPECT_EQ(body.at("object"), "text_completion");
  EXPECT_EQ(body.at("model"), "scripted");
  EXPECT_TRUE(body.at("id").get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body.at("choices").size(), 1u);
  EXPECT_EQ(body["choices"][0].at("text"), kText);
  EXPECT_EQ(body["choices"][0].at("finish_reason"), "stop");
  EXPECT_EQ(body["choices"][0].at("index"), 0);
  const auto prompt = tokenizer()->encode("Hello", true).size(), made = tokenizer()->encode(kText, false).size() + 1;
  EXPECT_EQ(body.at("usage"), Json({{"prompt_tokens", prompt}, {"completion_tokens", made}, {"total_tokens", prompt + made}}));
}

TEST_F(ServerTest, MaxTokensStopAndIdsAsPrompt) {
  start();
  Json body = parsed(complete({{"prompt", {500}}, {"max_tokens", 3}, {"temperature", 0}}));
  EXPECT_EQ(body["choices"][0].at("finish_reason"), "length");
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
  EXPECT_EQ(parsed(complete({{"prompt", {500}}, {"temperature", 0}}))["usage"]["completion_tokens"], 16);
  body = parsed(complete({{"prompt", Json::array({"Hello"})}, {"max_tokens", 100}, {"temperature", 0}, {"stop", {"dragon", "x9"}}}));
  EXPECT_EQ(body["choices"][0].at("text"), kText.substr(0, kText.find("dragon")));
  EXPECT_EQ(body["choices"][0].at("finish_reason"), "stop");
}

TEST_F(ServerTest, Streams) {
  start();
  const HttpAnswer answer = complete({{"prompt", "Hello"}, {"max_tokens", 200}, {"temperature", 0}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(answer.status, 200);
  EXPECT_NE(answer.head.find("text/event-stream"), std::string::npos);
  const auto all = events(answer);
  std::string text;
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    EXPECT_EQ(all[i].at("id"), all[0].at("id"));
    EXPECT_TRUE(all[i].at("usage").is_null());
    text += all[i].at("choices").at(0).at("text").get<std::string>();
  }
  EXPECT_EQ(text, kText);
  EXPECT_EQ(all[all.size() - 2]["choices"][0].at("finish_reason"), "stop");
  EXPECT_TRUE(all.back().at("choices").empty());
  EXPECT_GT(all.back().at("usage").at("completion_tokens").get<int>(), 5);
}

TEST_F(ServerTest, Chats) {
  start();
  const Json messages = {{{"role", "system"}, {"content", "Be brief."}},
                         {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "Hel"}}, {{"type", "text"}, {"text", "lo"}}}}}};
  const Json body = parsed(post("/v1/chat/completions", {{"model", "scripted"}, {"messages", messages}, {"temperature", 0}}));
  EXPECT_EQ(body.at("object"), "chat.completion") << body;
  EXPECT_EQ(body["choices"][0].at("message").at("role"), "assistant");
  EXPECT_EQ(body["choices"][0]["message"].at("content"), kText);
  EXPECT_EQ(body["usage"]["prompt_tokens"], tokenizer()->encode("[system]Be brief.[user]Hello>", false).size());

  const auto all = events(post("/v1/chat/completions", {{"messages", messages}, {"temperature", 0}, {"stream", true}, {"max_completion_tokens", 4}}));
  EXPECT_EQ(all.front()["choices"][0].at("delta"), Json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(all.back()["choices"][0].at("finish_reason"), "length");
  EXPECT_EQ(all.back()["choices"][0].at("delta"), Json::object());
  std::string text;
  for (const Json& one : all) {
    EXPECT_EQ(one.at("object"), "chat.completion.chunk");
    EXPECT_FALSE(one.contains("usage"));
    text += one["choices"][0]["delta"].value("content", "");
  }
  EXPECT_FALSE(text.empty());
  EXPECT_TRUE(kText.starts_with(text));
}

TEST_F(ServerTest, ChatNeedsATemplateThatTakesTheMessages) {
  start({}, "");
  const Json body = {{"messages", {{{"role", "user"}, {"content", "x"}}}}};
  expect_error(post("/v1/chat/completions", body), 400, "no chat template", "messages");
  start({}, "{{ raise_exception('Roles must take turns') }}");
  expect_error(post("/v1/chat/completions", body), 400, "Roles must take turns", "messages");
}

TEST_F(ServerTest, RefusesWhatIsWrong) {
  start();
  const auto expect = [&](Json changes, const std::string& fragment, const Json& param) {
    Json body = {{"prompt", "Hello"}};
    body.update(changes);
    expect_error(complete(body), 400, fragment, param);
  };
  expect({{"prompt", nullptr}}, "missing", "prompt");
  expect({{"prompt", Json::array()}}, "one text", "prompt");
  expect({{"prompt", {"a", "b"}}}, "one text", "prompt");
  expect({{"prompt", {1, 2048}}}, "0 to 2047", "prompt");
  expect({{"prompt", {1, -1}}}, "0 to 2047", "prompt");
  expect({{"prompt", {1, "a"}}}, "0 to 2047", "prompt");
  expect({{"max_tokens", 0}}, "at least 1", "max_tokens");
  expect({{"max_tokens", 1.5}}, "integer", "max_tokens");
  expect({{"max_tokens", 1e300}}, "integer", "max_tokens");
  expect({{"max_tokens", UINT64_MAX}}, "integer", "max_tokens");
  expect({{"temperature", 3}}, "from 0 to 2", "temperature");
  expect({{"temperature", "hot"}}, "number", "temperature");
  expect({{"top_p", -0.1}}, "from 0 to 1", "top_p");
  expect({{"frequency_penalty", -3}}, "from -2 to 2", "frequency_penalty");
  expect({{"stop", ""}}, "1 to", "stop");
  expect({{"stop", {1}}}, "string", "stop");
  expect({{"n", 2}}, "one answer", "n");
  expect({{"logprobs", 1}}, "not supported", "logprobs");
  expect({{"echo", true}}, "not supported", "echo");
  expect({{"logit_bias", {{"5", 1}}}}, "not supported", "logit_bias");
  expect({{"stream_options", Json::object()}}, "stream", "stream_options");
  expect({{"temprature", 1}}, "did you mean 'temperature'", "temprature");
  expect({{"policy", "nothing"}}, "nothing", nullptr);
  expect({{"policy", 3}}, "string", "policy");
  expect({{"cache", "int4"}}, "int8", "cache");
  expect({{"prompt", std::vector<int>(4000, 1)}}, "context is 4000", "prompt");
  expect_error(complete({{"prompt", "x"}, {"model", "other"}}), 404, "no model 'other'", "model");
  for (const Json& messages : {Json("x"), Json::array(), Json::array({1}), Json::array({{{"role", 1}}}), Json::array({{{"role", "user"}}}), Json::array({{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}})})
    EXPECT_EQ(post("/v1/chat/completions", {{"messages", messages}}).status, 400) << messages;
}

TEST_F(ServerTest, RefusesWhatIsNoJson) {
  start();
  std::string deep(100000, '[');
  for (const std::string& body : {std::string(), std::string("{"), std::string("[]"), std::string("nonsense"), std::string("{\"prompt\":\"\xff\"}"), std::string("{\"prompt\":\"\xed\xa0\x80\"}"),
                                  std::string("{\"prompt\":\"a\",\"prompt\":\"b\"}"), std::string("{\"prompt\":\"\\ud800\"}"), deep, std::string("\0\1\2", 3)})
    expect_error(http_ask(server->port(), http_post("/v1/completions", body)), 400, "");
}

TEST_F(ServerTest, RoutesAndMethods) {
  start();
  const int port = server->port();
  expect_error(http_ask(port, http_get("/v2")), 404, "no such path");
  const HttpAnswer wrong = http_ask(port, http_get("/v1/completions"));
  expect_error(wrong, 405, "takes POST");
  EXPECT_NE(wrong.head.find("Allow: POST"), std::string::npos);
  expect_error(http_ask(port, http_post("/health", "{}")), 405, "takes GET");
  EXPECT_EQ(parsed(http_ask(port, http_get("/health?x=1"))), Json({{"status", "ok"}}));
  HttpConnection head(port);
  head.send("HEAD /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n");
  std::string both;
  while (head.more()) both = head.buffer();
  EXPECT_EQ(both.find("HTTP/1.1 200 OK"), 0u);
  EXPECT_EQ(both.find("{\"status"), both.size() - 16);
  EXPECT_EQ(parsed(http_ask(port, http_get("/v1/models"))).at("data").at(0).at("id"), "scripted");
  EXPECT_EQ(parsed(http_ask(port, http_get("/v1/models/scripted"))).at("object"), "model");
  expect_error(http_ask(port, http_get("/v1/models/other")), 404, "no model");
}

TEST_F(ServerTest, HostileHttp) {
  ServerOptions options;
  options.http.max_body = 1000;
  start(options);
  const auto status = [&](const std::string& bytes) { return http_ask(server->port(), bytes).status; };
  EXPECT_EQ(status("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status("GET  /health HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nno colon\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nA b: c\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nA: b\r\n folded\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), 501);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"), 413);
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nA: " + std::string(100000, 'a') + "\r\n\r\n"), 431);
  std::string many = "GET /health HTTP/1.1\r\n";
  for (int i = 0; i < 300; ++i) many += "A: b\r\n";
  EXPECT_EQ(status(many + "\r\n"), 431);
  const HttpAnswer large = http_ask(server->port(), http_post("/v1/completions", std::string(100000, ' ')));
  expect_error(large, 413, "too large");
  EXPECT_EQ(status("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"), 413);
  EXPECT_EQ(status(http_get("/health")), 200);
}

TEST_F(ServerTest, ChunkedBodiesAndKeptConnections) {
  start();
  HttpConnection connection(server->port());
  const std::string body = R"({"prompt":"Hello","max_tokens":2,"temperature":0})";
  for (int i = 0; i < 3; ++i) {
    connection.send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string("5;x=y\r\n") + body.substr(0, 5) + "\r\n");
    connection.send(fmt::format("{:X}\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", body.size() - 5, body.substr(5)));
    EXPECT_EQ(connection.receive().status, 200);
  }
  std::string drops = "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char c : body + std::string(200000, ' ')) drops += std::string("1\r\n") + c + "\r\n";
  connection.send(drops + "0\r\n\r\n");
  EXPECT_EQ(connection.receive().status, 200);
  connection.send("\r\n" + http_get("/health") + http_get("/v1/models"));  // at once
  EXPECT_EQ(connection.receive().body, "{\"status\":\"ok\"}\n");
  EXPECT_EQ(connection.receive().status, 200);
  connection.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(connection.receive().status, 200);
  EXPECT_FALSE(connection.more());
  HttpConnection old(server->port());
  const std::string streamed = R"({"prompt":"Hello","max_tokens":200,"temperature":0,"stream":true})";
  old.send(fmt::format("POST /v1/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", streamed.size(), streamed));
  const HttpAnswer answer = old.receive();
  EXPECT_EQ(answer.head.find("chunked"), std::string::npos);
  EXPECT_GT(events(answer).size(), 1u);
}

TEST_F(ServerTest, AFullQueueIs429) {
  model.before_forward = [] { std::this_thread::sleep_for(1ms); };
  ServerOptions options;
  options.scheduler = {.parallel = 1, .queue = 1};
  start(options);
  HttpConnection first(server->port()), second(server->port());
  first.send(http_post("/v1/completions", kEndless.dump()));
  second.send(http_post("/v1/completions", kEndless.dump()));
  while (server->status().running + server->status().waiting < 2) std::this_thread::sleep_for(1ms);
  const HttpAnswer refused = complete(kEndless);
  expect_error(refused, 429, "too many requests");
  EXPECT_NE(refused.head.find("Retry-After: "), std::string::npos);
}

TEST_F(ServerTest, AClientThatLeavesCancelsItsRequest) {
  model.before_forward = [] { std::this_thread::sleep_for(1ms); };
  ServerOptions options;
  options.scheduler.parallel = 2;
  start(options);
  for (const bool stream : {false, true}) {
    {
      HttpConnection connection(server->port());
      Json body = kEndless;
      body["stream"] = stream;
      connection.send(http_post("/v1/completions", body.dump()));
      while (server->status().running < 1) std::this_thread::sleep_for(1ms);
    }
    for (int i = 0; i < 1500 && server->status().running > 0; ++i) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(server->status().running, 0);
  }
  EXPECT_NE(http_ask(server->port(), http_get("/metrics")).body.find("espalier_generations_total{reason=\"cancelled\"} 2"), std::string::npos);
}

TEST_F(ServerTest, WhoDoesNotReadBlocksNobodyAndIsCutOff) {
  ServerOptions options;
  options.http.write_seconds = 0.5;
  start(options);
  std::vector<std::unique_ptr<HttpConnection>> slow;
  Json body = kEndless;
  body["stream"] = true;
  for (int i = 0; i < 4; ++i) {
    slow.push_back(std::make_unique<HttpConnection>(server->port(), 1));
    slow.back()->send(http_post("/v1/completions", body.dump()));
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(complete({{"prompt", "Hello"}, {"max_tokens", 50}, {"temperature", 0}}).status, 200);
  for (int i = 0; i < 5000 && server->status().running > 0; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(server->status().running, 0);
}

TEST_F(ServerTest, ShutsDownWithinTheGracePeriod) {
  model.before_forward = [] { std::this_thread::sleep_for(1ms); };
  start();
  HttpConnection quick(server->port()), endless(server->port()), stream(server->port()), idle(server->port());
  quick.send(http_post("/v1/completions", R"({"prompt":"Hello","max_tokens":200,"temperature":0})"));
  endless.send(http_post("/v1/completions", kEndless.dump()));
  Json body = kEndless;
  body["stream"] = true;
  stream.send(http_post("/v1/completions", body.dump()));
  while (server->status().running < 3) std::this_thread::sleep_for(1ms);
  const auto start_time = std::chrono::steady_clock::now();
  server->shut_down(0.5);
  EXPECT_LT(std::chrono::steady_clock::now() - start_time, 3s);
  EXPECT_EQ(parsed(quick.receive())["choices"][0]["text"], kText);
  expect_error(endless.receive(), 503, "shutting down");
  const HttpAnswer cut = stream.receive();
  EXPECT_EQ(cut.status, 200);
  EXPECT_NE(cut.body.find("shutting down"), std::string::npos);
  EXPECT_EQ(cut.body.find("[DONE]"), std::string::npos);
  EXPECT_FALSE(idle.more());
  EXPECT_THROW(HttpConnection another(server->port()), std::runtime_error);
}

TEST_F(ServerTest, AFailureBeforeTheFirstTextIs500) {
  std::atomic<bool> fail{true};
  model.before_forward = [&] {
    if (fail) throw UserError("out of luck");
  };
  start();
  for (const bool stream : {false, true}) expect_error(complete({{"prompt", "x"}, {"stream", stream}}), 500, "out of luck");
  fail = false;
  EXPECT_EQ(complete({{"prompt", "x"}}).status, 200);
}

TEST_F(ServerTest, MetricsCount) {
  start();
  complete({{"prompt", {500}}, {"max_tokens", 3}, {"temperature", 0}});
  complete({{"prompt", {500}}, {"max_tokens", 0}});
  http_ask(server->port(), http_get("/secret/" + std::string(1000, 'a')));
  std::string text;
  for (int i = 0; i < 200 && text.find("completions\",status=\"400\"} 1") == std::string::npos; ++i) text = http_ask(server->port(), http_get("/metrics")).body;
  for (const char* line : {"espalier_http_requests_total{path=\"/v1/completions\",status=\"200\"} 1\n", "espalier_http_requests_total{path=\"other\",status=\"404\"} 1\n",
                           "espalier_generations_total{reason=\"length\"} 1\n", "espalier_prompt_tokens_total 1\n", "espalier_completion_tokens_total 3\n",
                           "espalier_requests_running 0\n", "espalier_request_seconds_count 1\n", "espalier_request_seconds_bucket{le=\"+Inf\"} 1\n",
                           "# TYPE espalier_first_token_seconds histogram\n", "espalier_cache_bytes 0\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(ServerTest, CannotListenTwice) {
  start();
  ServerOptions options;
  options.http.port = server->port();
  ESP_EXPECT_USER_ERROR(Server(model.backend(), tokenizer(), std::nullopt, options), "cannot listen");
}

// Clients of all kinds at once: right answers for those who ask rightly.
TEST_F(ServerTest, ManyClientsAtOnce) {
  ServerOptions options;
  options.scheduler = {.parallel = 4, .queue = 6};
  options.http.max_body = 100000;
  options.http.write_seconds = 2;
  start(options);
  std::atomic<int> answered{0}, refused{0}, wrong{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 16; ++client)
    clients.emplace_back([&, client] {
      for (int i = 0; i < 40; ++i) {
        const int kind = (client + i) % 8;
        Json body = {{"prompt", "Hello"}, {"max_tokens", 100}, {"temperature", 0}, {"stream", kind == 1}};
        if (kind == 2) {  // leaves amid the answer
          HttpConnection connection(server->port());
          Json endless = kEndless;
          endless["stream"] = i % 2 == 0;
          connection.send(http_post("/v1/completions", endless.dump()));
          if (i % 4 == 0) connection.more();
        } else if (kind == 3) {
          const int status = http_ask(server->port(), http_post("/v1/completions", std::string(200000, 'x'))).status;
          if (status != 413) ++wrong;
        } else if (kind == 4) {
          const int status = http_ask(server->port(), http_post("/v1/completions", "{\"prompt\":\"\xff\"}")).status;
          if (status != 400) ++wrong;
        } else {
          const HttpAnswer answer = complete(body);
          if (answer.status == 429) ++refused;
          else if (answer.status != 200) ++wrong;
          else if (kind == 1 ? answer.body.find("data: [DONE]") == std::string::npos : parsed(answer)["choices"][0]["text"] != kText) ++wrong;
          else ++answered;
        }
      }
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(answered, 100);
  EXPECT_EQ(answered + refused, 16 * 40 * 5 / 8);
}

}  // namespace
}  // namespace espalier::server_test
