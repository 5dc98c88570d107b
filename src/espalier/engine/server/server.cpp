#include "espalier/engine/server/server.h"

#include <algorithm>
#include <ctime>

#include "espalier/core/error.h"
#include "espalier/engine/server/completion.h"

namespace espalier {
namespace {

constexpr const char *kCompletions = "/v1/completions", *kChat = "/v1/chat/completions", *kModels = "/v1/models";

bool is_post(const std::string& path) { return path == kCompletions || path == kChat; }
bool is_model(const std::string& path) { return path == kModels || path.starts_with(std::string(kModels) + "/"); }
bool is_known(const std::string& path) { return is_post(path) || is_model(path) || path == "/health" || path == "/metrics"; }

// For metrics: hostile paths must not fill the memory.
std::string counted_path(const std::string& path) { return !is_known(path) ? "other" : is_model(path) ? kModels : path; }

std::string line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

void check_route(const HttpRequest& request) {
  if (!is_known(request.path)) throw ApiError(404, "no such path: " + printable(request.path), "", "not_found");
  const char* method = is_post(request.path) ? "POST" : "GET";
  if (request.method != method) throw ApiError(405, fmt::format("{} takes {}, found {}", printable(request.path), method, printable(request.method)), "", "method_not_allowed");
}

}  // namespace

Server::Server(SchedulerBackend backend, std::shared_ptr<const Tokenizer> tokenizer, std::optional<ChatTemplate> chat, ServerOptions options)
    : options_(std::move(options)), tokenizer_(std::move(tokenizer)), chat_(std::move(chat)), scheduler_(std::move(backend), tokenizer_, options_.scheduler),
      created_(static_cast<int64_t>(std::time(nullptr))) {
  // A connection for each request that may run or wait, and some for the rest.
  options_.http.max_connections = std::max(options_.http.max_connections, static_cast<int>(std::min<int64_t>(options_.scheduler.parallel + options_.scheduler.queue, 4096)) + 32);
  http_ = std::make_unique<HttpServer>(
      options_.http, [this](const HttpRequest& request, HttpExchange& exchange) { handle(request, exchange); },
      [this](int status, const std::string& message) {
        metrics_.count("other", status);
        return error_response(ApiError(status, message));
      });
}

Server::~Server() { shut_down(0); }

void Server::shut_down(double grace_seconds) {
  closing_ = true;
  http_->stop();
  scheduler_.close(grace_seconds);
  // Answers that are complete still have to be read.
  for (int i = 0; i < 20 && http_->connections() > 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  http_->disconnect();
}

void Server::handle(const HttpRequest& request, HttpExchange& exchange) {
  try {
    check_route(request);
    if (is_post(request.path)) return complete(request, exchange, request.path);
    const HttpResponse response = answer(request);
    metrics_.count(counted_path(request.path), response.status);
    exchange.send(response);
  } catch (const ApiError& error) {
    metrics_.count(counted_path(request.path), error.status);
    if (!exchange.answered()) {
      HttpResponse response = error_response(error);
      if (error.status == 405) response.headers.emplace_back("Allow", is_post(request.path) ? "POST" : "GET");
      exchange.send(response);
    }
  }
}

HttpResponse Server::answer(const HttpRequest& request) {
  HttpResponse response;
  if (request.path == "/health") {
    response.status = closing_ ? 503 : 200;
    response.body = line({{"status", closing_ ? "closing" : "ok"}});
  } else if (request.path == "/metrics") {
    response.type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_.text(scheduler_.status(), http_->connections());
  } else {
    return models(request.path);
  }
  return response;
}

HttpResponse Server::models(const std::string& path) const {
  const Json model = {{"id", options_.model}, {"object", "model"}, {"created", created_}, {"owned_by", "espalier"}};
  HttpResponse response;
  if (path == kModels) {
    response.body = line({{"object", "list"}, {"data", Json::array({model})}});
    return response;
  }
  const std::string name = path.substr(std::string(kModels).size() + 1);
  if (name != options_.model) throw ApiError(404, fmt::format("no model '{}'; this server has '{}'", printable(name), options_.model), "model", "model_not_found");
  response.body = line(model);
  return response;
}

ApiRequest Server::parse(const HttpRequest& request, bool chat) {
  ApiContext context;
  context.tokenizer = tokenizer_.get();
  context.chat = chat_ ? &*chat_ : nullptr;
  context.attention = options_.attention;
  context.context_length = scheduler_.backend().context_length;
  ApiRequest parsed = chat ? parse_chat_completion(request.body, context) : parse_completion(request.body, context);
  if (!parsed.model.empty() && parsed.model != options_.model)
    throw ApiError(404, fmt::format("no model '{}'; this server has '{}'", printable(parsed.model), options_.model), "model", "model_not_found");
  return parsed;
}

void Server::complete(const HttpRequest& request, HttpExchange& exchange, const std::string& path) {
  if (closing_) throw ApiError(503, "the server is shutting down");
  ApiRequest parsed = parse(request, path == kChat);
  const uint64_t number = ++number_;
  if (!parsed.seeded) parsed.generation.seed = options_.seed + number;
  const CompletionObjects objects(parsed, options_.model, number, static_cast<int64_t>(std::time(nullptr)));
  metrics_.count(path, run_completion(scheduler_, metrics_, std::move(parsed), objects, exchange));
}

}  // namespace espalier
