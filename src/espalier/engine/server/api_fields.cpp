#include "espalier/engine/server/api_fields.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

const char* type_of(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

HttpResponse error_response(const ApiError& error) {
  const Json body = {{"error", {{"message", error.what()}, {"type", type_of(error.status)}, {"param", or_null(error.param)}, {"code", or_null(error.code)}}}};
  HttpResponse response;
  response.status = error.status;
  response.body = body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (error.status == 429 || error.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

void wrong_field(const std::string& field, const std::string& expected, const Json& found) {
  throw ApiError(400, fmt::format("{}: expected {}, found {}", printable(field), expected, describe(found)), field);
}

ApiFields::ApiFields(const std::string& body) {
  try {
    body_ = parse_json(body, "the request's body");
  } catch (const UserError& error) {
    throw ApiError(400, error.what());
  }
  if (!body_.is_object()) throw ApiError(400, "the request's body: expected a JSON object, found " + describe(body_));
}

const Json* ApiFields::find(const std::string& field) {
  known_.insert(field);
  const auto at = body_.find(field);
  return at == body_.end() || at->is_null() ? nullptr : &*at;
}

std::optional<int64_t> ApiFields::integer(const std::string& field, int64_t low, int64_t high) {
  const Json* found = find(field);
  if (!found) return std::nullopt;
  const bool fits = found->is_number_integer() && !(found->is_number_unsigned() && found->get<uint64_t>() > INT64_MAX);
  if (!fits || found->get<int64_t>() < low || found->get<int64_t>() > high)
    wrong_field(field, high == INT64_MAX ? fmt::format("an integer of at least {}", low) : fmt::format("an integer from {} to {}", low, high), *found);
  return found->get<int64_t>();
}

double ApiFields::number(const std::string& field, double low, double high, double otherwise) {
  const Json* found = find(field);
  if (!found) return otherwise;
  if (!found->is_number() || !(found->get<double>() >= low && found->get<double>() <= high))
    wrong_field(field, fmt::format("a number from {} to {}", low, high), *found);
  return found->get<double>();
}

bool ApiFields::boolean(const std::string& field, bool otherwise) {
  const Json* found = find(field);
  if (found && !found->is_boolean()) wrong_field(field, "true or false", *found);
  return found ? found->get<bool>() : otherwise;
}

std::optional<std::string> ApiFields::text(const std::string& field) {
  const Json* found = find(field);
  if (found && !found->is_string()) wrong_field(field, "a string", *found);
  return found ? std::optional(found->get<std::string>()) : std::nullopt;
}

void ApiFields::ignore(const std::vector<std::string>& fields) { known_.insert(fields.begin(), fields.end()); }

void ApiFields::only(const std::string& field, const std::vector<Json>& allowed, const std::string& why) {
  const Json* found = find(field);
  if (!found || (found->is_structured() && found->empty())) return;
  if (std::find(allowed.begin(), allowed.end(), *found) == allowed.end())
    throw ApiError(400, fmt::format("{}: {}; found {}", field, why, describe(*found)), field, "unsupported_value");
}

void ApiFields::finish() const {
  for (const auto& member : body_.items())
    if (!known_.contains(member.key()))
      throw ApiError(400, fmt::format("unknown field '{}'{}", printable(member.key()), did_you_mean(member.key(), {known_.begin(), known_.end()})), member.key(), "unknown_parameter");
}

}  // namespace espalier
