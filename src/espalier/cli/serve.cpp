// espalier serve MODEL
#include <chrono>
#include <thread>

#include "espalier/cli/engine_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/core/signals.h"
#include "espalier/engine/open.h"
#include "espalier/engine/server/server.h"

namespace espalier {
namespace {

constexpr uint64_t kMostTemplateBytes = 1u << 20;

class ServeVerb : public Verb {
 public:
  ServeVerb() : Verb("serve", "a language model over HTTP, as the OpenAI interface", "espalier serve {model} --port 8080") {
    use_common(common_request_);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, model_)->required();
    add_text(app, "--host", host_, "TEXT", "where to listen; 0.0.0.0: on every interface");
    add_integer(app, "--port", port_, 0, 65535, "0: any free one");
    add_text(app, "--name", name_, "TEXT", "the model's name in requests; by default its own");
    add_text(app, "--chat-template", chat_template_, "FILE", "a Jinja file in place of the checkpoint's chat template");
    add_integer(app, "--parallel", parallel_, 1, DecoderOptions{}.batch, "requests in one batch");
    add_integer(app, "--queue", queue_, 0, 1 << 20, "requests that wait at most; further ones get status 429");
    add_integer(app, "--chunk", chunk_, 1, 4096, "tokens of a prompt that go in between two tokens of the others");
    add_integer(app, "--cache-bytes", cache_bytes_, 0, INT64_MAX, "of keys and values of all running requests; 0: half of the free memory");
    add_integer(app, "--max-body", max_body_, 1, int64_t{1} << 32, "bytes of a request at most; larger ones get status 413");
    add_number(app, "--grace", grace_, 0, 3600, "seconds for running requests to end after a SIGTERM");
    engine_.declare(app);
  }

  bool complete(CLI::App&) override {
    engine_request_ = engine_.request();
    return false;
  }

  Json run() override {
    const auto path = resolve_model(model_);
    const auto decoder = open_decoder(path.string(), common(), engine_request_);
    const auto tokenizer = Tokenizer::load(decoder->model().path);
    ServerOptions options = server_options(path);
    decoder->start(options.attention, 1);  // says now what is wrong with a policy's options
    Server server(backend_of(*decoder), tokenizer, chat_template(*decoder), options);
    inform("serving {} on http://{}:{}", options.model, host_, server.port());
    while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server.shut_down(grace_);
    const SchedulerStatus status = server.status();
    return {{"model", options.model}, {"port", server.port()}, {"prompt_tokens", status.prompt_tokens},
            {"completion_tokens", status.completion_tokens}, {"forwards", status.forwards}};
  }

  std::string text(const Json& result) override {
    return fmt::format("served {} tokens of prompts and {} of answers\n", shown(result["prompt_tokens"]), shown(result["completion_tokens"]));
  }

 private:
  ServerOptions server_options(const std::filesystem::path& path) {
    ServerOptions options;
    options.http.host = host_;
    options.http.port = static_cast<int>(port_);
    options.http.max_body = static_cast<uint64_t>(max_body_);
    options.scheduler.parallel = parallel_;
    options.scheduler.queue = queue_;
    options.scheduler.chunk = chunk_;
    options.scheduler.cache_bytes = cache_bytes_ > 0 ? static_cast<uint64_t>(cache_bytes_) : available_memory_bytes() / 2;
    options.model = !name_.empty() ? name_ : std::filesystem::weakly_canonical(path).filename().string();
    options.attention = attention_request(common(), engine_request_);
    options.seed = common().seed;
    return options;
  }

  std::optional<ChatTemplate> chat_template(const Decoder& decoder) const {
    if (chat_template_.empty()) return ChatTemplate::load(decoder.model().directory());
    return ChatTemplate(read_file(chat_template_, kMostTemplateBytes), chat_template_, special_tokens(decoder.model().directory()));
  }

  CommonRequest common_request_;
  std::string model_, host_ = "127.0.0.1", name_, chat_template_;
  int64_t port_ = 8080, parallel_ = 8, queue_ = 64, chunk_ = DecoderOptions{}.chunk, cache_bytes_ = 0, max_body_ = 16 << 20;
  double grace_ = 10;
  EngineOptions engine_;
  EngineRequest engine_request_;
};

ServeVerb serve_verb;

}  // namespace
}  // namespace espalier
