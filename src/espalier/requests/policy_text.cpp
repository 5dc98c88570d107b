#include "espalier/requests/policy_text.h"

#include "espalier/core/error.h"

namespace espalier {

EngineRequest policy_from_text(const std::string& text, const std::string& where) {
  EngineRequest request;
  size_t end = text.find(':');
  request.policy = text.substr(0, end);
  if (request.policy.empty()) throw UserError(where, "policy", "ID or ID:name=value:name=value", "'" + printable(text) + "'");
  while (end != std::string::npos) {
    const size_t begin = end + 1;
    end = text.find(':', begin);
    const std::string setting = text.substr(begin, end == std::string::npos ? end : end - begin);
    const size_t sign = setting.find('=');
    if (sign == 0 || sign == std::string::npos) throw UserError(where, "option of " + printable(request.policy), "name=value", "'" + printable(setting) + "'");
    if (!request.options.emplace(setting.substr(0, sign), setting.substr(sign + 1)).second)
      throw UserError(where, "option of " + printable(request.policy), "each name once", "'" + printable(setting.substr(0, sign)) + "' twice");
  }
  return request;
}

}  // namespace espalier
