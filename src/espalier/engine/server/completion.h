// One completion on its way from the scheduler to a client: waits for text, and watches whether the client is there.
#pragma once

#include <memory>
#include <string>

#include "espalier/engine/scheduler.h"
#include "espalier/engine/server/api_request.h"
#include "espalier/engine/server/http.h"
#include "espalier/engine/server/metrics.h"

namespace espalier {

// The objects of the OpenAI interface.
class CompletionObjects {
 public:
  CompletionObjects(const ApiRequest& request, std::string model, uint64_t number, int64_t created);
  Json whole(const std::string& text, const GenerationEnd& end) const;
  Json first_chunk() const;                        // null unless a chat
  Json chunk(const std::string& text) const;
  Json last_chunk(const GenerationEnd& end) const;
  Json usage_chunk(const GenerationEnd& end) const;

 private:
  Json object(const char* kind, Json choices) const;
  Json chunk_of(Json choice) const;

  bool chat_, include_usage_;
  std::string model_, id_;
  int64_t created_;
};

// Returns the status that was answered. ApiError, before anything was sent, for what submit() refuses and for what fails.
int run_completion(Scheduler& scheduler, Metrics& metrics, ApiRequest request, const CompletionObjects& objects, HttpExchange& exchange);

}  // namespace espalier
