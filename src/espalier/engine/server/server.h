// `espalier serve`: the OpenAI-compatible interface over a Scheduler.
//   POST /v1/completions, POST /v1/chat/completions, GET /v1/models, GET /v1/models/NAME, GET /health, GET /metrics
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "espalier/engine/chat_template.h"
#include "espalier/engine/scheduler.h"
#include "espalier/engine/server/api_request.h"
#include "espalier/engine/server/http.h"
#include "espalier/engine/server/metrics.h"

namespace espalier {

struct ServerOptions {
  HttpOptions http;
  SchedulerOptions scheduler;
  std::string model;           // the name that requests ask for
  AttentionRequest attention;  // of requests that name no policy
  uint64_t seed = 0;           // requests without a seed get this plus their number
};

class Server {
 public:
  // Serves at once. UserError when it cannot listen.
  Server(SchedulerBackend backend, std::shared_ptr<const Tokenizer> tokenizer, std::optional<ChatTemplate> chat, ServerOptions options);
  ~Server();  // shut_down(0)

  int port() const { return http_->port(); }
  SchedulerStatus status() const { return scheduler_.status(); }
  // Takes no more connections and refuses new requests; returns when all answers have been sent. What still runs after
  // the grace period is cancelled, and who does not read is cut off.
  void shut_down(double grace_seconds);

 private:
  void handle(const HttpRequest& request, HttpExchange& exchange);
  HttpResponse answer(const HttpRequest& request);
  HttpResponse models(const std::string& path) const;
  void complete(const HttpRequest& request, HttpExchange& exchange, const std::string& path);
  ApiRequest parse(const HttpRequest& request, bool chat);

  ServerOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  Metrics metrics_;
  Scheduler scheduler_;
  std::atomic<uint64_t> number_{0};
  std::atomic<bool> closing_{false};
  int64_t created_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace espalier
