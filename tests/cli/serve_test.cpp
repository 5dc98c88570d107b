// The built program under clients of all kinds.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "espalier/core/json.h"
#include "espalier/core/resources.h"
#include "tests/cli/run_program.h"
#include "tests/http_client.h"

namespace espalier {
namespace {

using test::http_ask;
using test::http_get;
using test::http_post;
using test::HttpAnswer;
using test::HttpConnection;
using namespace std::chrono_literals;

class Served {
 public:
  explicit Served(std::vector<std::string> options = {}) {
    std::vector<std::string> arguments = {"serve", "espalier-tiny", "--port", "0", "--threads", "1"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    pid = test::start_espalier(arguments, dir_ / "err");
    constexpr std::string_view kBefore = "http://127.0.0.1:";
    for (int i = 0; i < 600 && port == 0; ++i, std::this_thread::sleep_for(50ms)) {
      const std::string err = errors();
      const size_t at = err.find(kBefore);
      if (at != std::string::npos && err.find('\n', at) != std::string::npos) port = std::stoi(err.substr(at + kBefore.size()));
    }
    if (port == 0) ADD_FAILURE() << "not serving: " << errors();
  }
  ~Served() {
    if (!waited_) {
      ::kill(pid, SIGKILL);
      wait();
    }
  }
  // The exit code; negative: the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid, &status, 0);
    waited_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string errors() const { return std::filesystem::exists(dir_ / "err") ? read_file(dir_ / "err", 1 << 20) : ""; }

  int port = 0;
  pid_t pid = 0;

 private:
  test::TempDir dir_;
  bool waited_ = false;
};

const std::vector<std::string> kPrompts = {"Once upon a time", "The sea", "It was a dark night, and the", "\"Come here,\" said", "In the year 1850", "My dear"};

Json greedy(const std::string& prompt, int tokens = 24) { return {{"model", "espalier-tiny"}, {"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}}; }

std::string text_of(const HttpAnswer& answer) { return parse_json(answer.body, "answer").at("choices").at(0).at("text").get<std::string>(); }

// The answer of a stream; none: it did not come to its end.
std::optional<std::string> streamed_text(const HttpAnswer& answer) {
  std::string text;
  std::string_view rest = answer.body;
  for (size_t end; (end = rest.find("\n\n")) != std::string_view::npos; rest.remove_prefix(end + 2)) {
    if (rest.substr(6, end - 6) == "[DONE]") return text;
    const Json event = parse_json(rest.substr(6, end - 6), "event");
    if (event.contains("error")) return std::nullopt;
    text += event.at("choices").at(0).at("text").get<std::string>();
  }
  return std::nullopt;
}

TEST(Serve, AnswersAsGenerateDoes) {
  Served served;
  ASSERT_NE(served.port, 0);
  for (const auto& prompt : {kPrompts[0], kPrompts[1]}) {
    const auto end = test::espalier({"generate", (test::assets_dir() / "models/espalier-tiny").string(), "--prompt", prompt, "-n", "24", "--json"});
    ASSERT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(text_of(http_ask(served.port, http_post("/v1/completions", greedy(prompt).dump()))), parse_json(end.out, "out").at("text"));
  }
  Json body = greedy(kPrompts[0]);
  body.update({{"policy", "streaming"}, {"budget", 16}, {"cache", "bf16"}});
  EXPECT_EQ(http_ask(served.port, http_post("/v1/completions", body.dump())).status, 200);
  body["temperature"] = 1.0;
  body["seed"] = 5;
  const std::string drawn = text_of(http_ask(served.port, http_post("/v1/completions", body.dump())));
  EXPECT_EQ(text_of(http_ask(served.port, http_post("/v1/completions", body.dump()))), drawn);
  ::kill(served.pid, SIGTERM);
  EXPECT_EQ(served.wait(), 0) << served.errors();
}

TEST(Serve, NeverLoadsTheLaboratory) {
  Served served;
  http_ask(served.port, http_post("/v1/completions", greedy(kPrompts[0]).dump()));
  std::ifstream file("/proc/" + std::to_string(served.pid) + "/maps");
  const std::string maps((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(maps.find("libespalier.so"), std::string::npos);
  EXPECT_EQ(maps.find("torch"), std::string::npos);
  EXPECT_EQ(maps.find("libespalier-lab"), std::string::npos);
  ::kill(served.pid, SIGINT);
  EXPECT_EQ(served.wait(), 0) << served.errors();
}

TEST(Serve, Mistakes) {
  ESP_EXPECT_MISTAKE(test::espalier({"serve", "espalier-tiny", "--policy", "nothing"}), "nothing");
  ESP_EXPECT_MISTAKE(test::espalier({"serve", "espalier-tiny", "--port", "70000"}), "--port");
  ESP_EXPECT_MISTAKE(test::espalier({"serve", "espalier-tiny", "--host", "no host"}), "--host");
  ESP_EXPECT_MISTAKE(test::espalier({"serve", "espalier-tiny", "--chat-template", "/no/such"}), "/no/such");
  Served served;
  ESP_EXPECT_MISTAKE(test::espalier({"serve", "espalier-tiny", "--port", std::to_string(served.port)}), "cannot listen");
}

// What a crowd of clients saw.
struct Seen {
  std::atomic<int> right{0}, wrong{0}, refused{0}, cut{0}, asked{0};
};

class Crowd {
 public:
  Crowd(int port, const std::map<std::string, std::string>& answers) : port_(port), answers_(answers) {}

  // One request of kind 0 … 9, as right or wrong as that kind is.
  void ask(int kind, int number) {
    ++seen.asked;
    const std::string& prompt = kPrompts[static_cast<size_t>(number) % kPrompts.size()];
    try {
      if (kind == 0) return leave(prompt, number);
      if (kind == 1) return expect(http_ask(port_, http_post("/v1/completions", std::string(300000, 'x'))).status, 413);
      if (kind == 2) return expect(http_ask(port_, http_post("/v1/completions", "{\"prompt\": \"a\" nonsense")).status, 400);
      if (kind == 3) return expect(http_ask(port_, http_post("/v1/completions", "{\"prompt\": \"\xc3\x28\"}")).status, 400);
      if (kind == 4) return expect(http_ask(port_, "GARBAGE\r\n\r\n").status, 400);
      if (kind == 5) return read_slowly(prompt);
      stream_or_whole(prompt, kind == 6);
    } catch (const std::runtime_error&) {
      ++seen.cut;  // nobody listens any more
    }
  }

  Seen seen;
  std::string notes;  // what was wrong

 private:
  void expect(int status, int expected) { 
    if (status == 0) ++seen.cut;
    else if (status == expected) ++seen.right;
    else note(std::to_string(status) + " for " + std::to_string(expected));
  }

  void judge(const HttpAnswer& answer, const std::optional<std::string>& text, const std::string& prompt) {
    if (answer.status == 429 || answer.status == 503) ++seen.refused;
    else if (answer.status == 0 || !text) ++seen.cut;
    else if (*text == answers_.at(prompt)) ++seen.right;
    else note("'" + *text + "' for '" + answers_.at(prompt) + "'");
  }

  void note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    ++seen.wrong;
    notes += what + "\n";
  }

  void stream_or_whole(const std::string& prompt, bool stream) {
    Json body = greedy(prompt);
    body["stream"] = stream;
    const HttpAnswer answer = http_ask(port_, http_post("/v1/completions", body.dump()));
    if (answer.status != 200) return judge(answer, std::nullopt, prompt);
    judge(answer, stream ? streamed_text(answer) : text_of(answer), prompt);
  }

  void leave(const std::string& prompt, int number) {
    HttpConnection connection(port_);
    Json body = greedy(prompt, 200);
    body["stream"] = number % 2 == 0;
    connection.send(http_post("/v1/completions", body.dump()));
    if (number % 3 == 0) connection.more();
  }

  void read_slowly(const std::string& prompt) {
    HttpConnection connection(port_, 1024);
    Json body = greedy(prompt);
    body["stream"] = true;
    connection.send(http_post("/v1/completions", body.dump()));
    std::this_thread::sleep_for(100ms);
    const HttpAnswer answer = connection.receive();
    judge(answer, answer.status == 200 ? streamed_text(answer) : std::nullopt, prompt);
  }

  int port_;
  const std::map<std::string, std::string>& answers_;
  std::mutex mutex_;
};

std::map<std::string, std::string> answers_alone(int port) {
  std::map<std::string, std::string> answers;
  for (const auto& prompt : kPrompts) answers[prompt] = text_of(http_ask(port, http_post("/v1/completions", greedy(prompt).dump())));
  return answers;
}

void let_loose(Crowd& crowd, int clients, int requests) {
  std::vector<std::thread> threads;
  for (int client = 0; client < clients; ++client)
    threads.emplace_back([&crowd, client, clients, requests] {
      for (int i = client; i < requests; i += clients) crowd.ask(i / clients % 10, i);
    });
  for (auto& thread : threads) thread.join();
}

TEST(Serve, AThousandRequestsFromSixteenClients) {
  Served served({"--max-body", "100000", "--parallel", "8", "--queue", "16"});
  ASSERT_NE(served.port, 0);
  const auto answers = answers_alone(served.port);
  Crowd crowd(served.port, answers);
  let_loose(crowd, 16, 1000);
  EXPECT_EQ(crowd.seen.asked, 1000);
  EXPECT_EQ(crowd.seen.wrong, 0) << crowd.notes;
  EXPECT_EQ(crowd.seen.cut, 0);
  EXPECT_GT(crowd.seen.right, 700) << crowd.seen.refused << " refused";
  // Nothing is left behind.
  std::string metrics;
  for (int i = 0; i < 100 && metrics.find("espalier_requests_running 0\n") == std::string::npos; ++i, std::this_thread::sleep_for(20ms))
    metrics = http_ask(served.port, http_get("/metrics")).body;
  for (const char* line : {"espalier_requests_running 0\n", "espalier_requests_waiting 0\n", "espalier_cache_bytes 0\n", "espalier_cache_reserved_bytes 0\n"})
    EXPECT_NE(metrics.find(line), std::string::npos) << line;
  EXPECT_EQ(answers_alone(served.port), answers);
  ::kill(served.pid, SIGTERM);
  EXPECT_EQ(served.wait(), 0) << served.errors();
}

TEST(Serve, ATermSignalInTheMiddle) {
  Served served({"--max-body", "100000", "--grace", "2"});
  ASSERT_NE(served.port, 0);
  const auto answers = answers_alone(served.port);
  Crowd crowd(served.port, answers);
  std::thread killer([&] {
    while (crowd.seen.right < 60) std::this_thread::sleep_for(5ms);
    ::kill(served.pid, SIGTERM);
  });
  let_loose(crowd, 16, 1000);
  killer.join();
  EXPECT_EQ(served.wait(), 0) << served.errors();
  EXPECT_EQ(crowd.seen.wrong, 0) << crowd.notes;
  EXPECT_GT(crowd.seen.cut + crowd.seen.refused, 100);
}

}  // namespace
}  // namespace espalier
