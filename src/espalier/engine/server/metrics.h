// Counters in Prometheus' text form.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "espalier/engine/scheduler.h"

namespace espalier {

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void add(double value);
  void append(std::string& out, const std::string& name, const std::string& help) const;

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;  // by bucket, not cumulated
  double sum_ = 0;
};

// May be used from any number of threads.
class Metrics {
 public:
  Metrics();
  void count(const std::string& path, int status);  // one answered request; paths that no route has are counted as "other"
  void ended(const GenerationEnd& end);
  std::string text(const SchedulerStatus& status, int connections) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;
  std::map<FinishReason, uint64_t> finished_;
  Histogram seconds_, queued_, first_token_, token_;
};

}  // namespace espalier
