// What clients and checkpoints send to the server, under any bytes, see targets.h.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "espalier/engine/chat_template.h"
#include "espalier/engine/server/api_request.h"
#include "espalier/engine/server/http_request.h"
#include "tests/fuzz/targets.h"

namespace espalier::fuzz {

inline bool fuzz_chat_template(const uint8_t* data, size_t size) {
  ChatInput input;
  input.messages = {{{"role", "system"}, {"content", "Be brief."}}, {{"role", "user"}, {"content", " hi "}}, {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {{{"name", "f"}, {"n", 1.5}}}}}};
  input.now = 0;
  return accepts([&] {
    const std::string text = ChatTemplate({reinterpret_cast<const char*>(data), size}, "fuzz", {{"bos_token", "<s>"}}).render(input);
    ESP_ASSERT(is_valid_utf8(text));
  });
}

// Everything that one connection sends.
inline bool fuzz_http_request(const uint8_t* data, size_t size) {
  constexpr uint64_t kMostBody = 1000;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return false;
  std::string buffer(reinterpret_cast<const char*>(data), size);
  ::shutdown(ends[1], SHUT_WR);
  int read = 0;
  for (;;) {
    const HttpRead one = read_request(ends[0], buffer, kMostBody, 1, [] {});
    if (one.error != 0) break;
    ESP_ASSERT(one.request.body.size() <= kMostBody && !one.request.method.empty() && !one.request.path.empty());
    ++read;
  }
  ::close(ends[0]);
  ::close(ends[1]);
  return read > 0;
}

// The first byte says which of the two bodies.
inline bool fuzz_api_request(const uint8_t* data, size_t size) {
  static const auto tokenizer = Tokenizer::load(std::filesystem::path(ESPALIER_SOURCE_DIR) / "assets/models/espalier-tiny");
  static const ChatTemplate chat("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}", "fuzz");
  if (size == 0) return false;
  const ApiContext context{tokenizer.get(), &chat, {}, 256};
  const std::string body(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    const ApiRequest request = data[0] % 2 ? parse_chat_completion(body, context) : parse_completion(body, context);
    ESP_ASSERT(!request.generation.prompt.empty() && request.generation.max_tokens >= 1);
    return true;
  } catch (const ApiError& error) {
    ESP_ASSERT(error.status >= 400 && error_response(error).body.find("\"error\"") != std::string::npos);
    return false;
  }
}

}  // namespace espalier::fuzz
