// Reading one request from a socket.
#pragma once

#include <string>

#include "espalier/engine/server/http.h"

namespace espalier {

struct HttpRead {
  HttpRequest request;
  int error = 0;            // a status to answer with before closing; -1: close without a word
  std::string message;
};

// buffer: bytes read beyond the request before; what follows this one is left in it. on_begin is called once the first
// byte is there.
HttpRead read_request(int socket, std::string& buffer, uint64_t max_body, double seconds, const std::function<void()>& on_begin);

}  // namespace espalier
