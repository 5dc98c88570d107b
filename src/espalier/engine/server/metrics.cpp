#include "espalier/engine/server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace espalier {
namespace {

std::vector<double> steps(double from, int count) {  // 1, 2.5, 5, 10, 25 … times from
  std::vector<double> bounds;
  constexpr double kIn[] = {1, 2.5, 5};
  double decade = from;
  for (int i = 0; i < count; ++i) {
    bounds.push_back(kIn[i % 3] * decade);
    if (i % 3 == 2) decade *= 10;
  }
  return bounds;
}

void append_head(std::string& out, const std::string& name, const std::string& help, const char* type) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <typename Number>
void append_value(std::string& out, const std::string& name, const std::string& help, const char* type, Number value) {
  append_head(out, name, help, type);
  fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
}

const char* word_of(FinishReason reason) {
  constexpr const char* kWords[] = {"stop", "length", "cancelled", "failed"};
  return kWords[static_cast<size_t>(reason)];
}

}  // namespace

void Histogram::add(double value) {
  ++counts_[static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin())];
  sum_ += value;
}

void Histogram::append(std::string& out, const std::string& name, const std::string& help) const {
  append_head(out, name, help, "histogram");
  uint64_t below = 0;
  const auto to = std::back_inserter(out);
  for (size_t i = 0; i < counts_.size(); ++i) {
    below += counts_[i];
    fmt::format_to(to, "{}_bucket{{le=\"{}\"}} {}\n", name, i < bounds_.size() ? fmt::format("{:g}", bounds_[i]) : "+Inf", below);
  }
  fmt::format_to(to, "{}_sum {}\n{}_count {}\n", name, sum_, name, below);
}

Metrics::Metrics() : seconds_(steps(0.01, 13)), queued_(steps(0.001, 13)), first_token_(steps(0.001, 13)), token_(steps(0.0001, 13)) {}

void Metrics::count(const std::string& path, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{path, status}];
}

void Metrics::ended(const GenerationEnd& end) {
  const std::lock_guard lock(mutex_);
  ++finished_[end.reason];
  seconds_.add(end.seconds);
  if (end.completion_tokens == 0) return;
  queued_.add(end.queued_seconds);
  first_token_.add(end.first_token_seconds);
  if (end.completion_tokens > 1) token_.add((end.seconds - end.first_token_seconds) / static_cast<double>(end.completion_tokens - 1));
}

std::string Metrics::text(const SchedulerStatus& status, int connections) const {
  const std::lock_guard lock(mutex_);
  std::string out;
  append_head(out, "espalier_http_requests_total", "Answered requests.", "counter");
  for (const auto& [key, count] : requests_)
    out += fmt::format("espalier_http_requests_total{{path=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  append_head(out, "espalier_generations_total", "Ended generations.", "counter");
  for (const auto& [reason, count] : finished_) out += fmt::format("espalier_generations_total{{reason=\"{}\"}} {}\n", word_of(reason), count);
  append_value(out, "espalier_prompt_tokens_total", "Prompt tokens fed.", "counter", status.prompt_tokens);
  append_value(out, "espalier_completion_tokens_total", "Tokens generated.", "counter", status.completion_tokens);
  append_value(out, "espalier_forwards_total", "Passes over the weights.", "counter", status.forwards);
  append_value(out, "espalier_requests_waiting", "Requests in the queue.", "gauge", status.waiting);
  append_value(out, "espalier_requests_running", "Requests in the batch.", "gauge", status.running);
  append_value(out, "espalier_cache_bytes", "Bytes of keys and values held.", "gauge", status.cache_bytes);
  append_value(out, "espalier_cache_reserved_bytes", "Bytes that the running requests may grow to.", "gauge", status.reserved_bytes);
  append_value(out, "espalier_connections", "Open connections.", "gauge", connections);
  seconds_.append(out, "espalier_request_seconds", "From request to last token.");
  queued_.append(out, "espalier_queue_seconds", "From request to the batch.");
  first_token_.append(out, "espalier_first_token_seconds", "From request to first token.");
  token_.append(out, "espalier_token_seconds", "Between two tokens, mean of a request.");
  return out;
}

}  // namespace espalier
