// What a client is told when its request is not served, in the form of the OpenAI interface.
#pragma once

#include <stdexcept>
#include <string>

#include "espalier/engine/server/http.h"

namespace espalier {

struct ApiError : std::runtime_error {
  ApiError(int status_, const std::string& message, std::string param_ = "", std::string code_ = "")
      : std::runtime_error(message), status(status_), param(std::move(param_)), code(std::move(code_)) {}
  int status;
  std::string param, code;  // "": null
};

// {"error": {"message", "type", "param", "code"}}
HttpResponse error_response(const ApiError& error);

}  // namespace espalier
